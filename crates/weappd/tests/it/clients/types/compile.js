'use strict';
// Compiles `usage.ts` and every JavaScript block of the package's README, strictly, beside
// WeChat's own types, as each module resolution finds the package: installed, and copied.
//
//   node compile.js CLIENTS EMPTY_FOLDER      NODE_PATH: typescript, miniprogram-api-typings

const fs = require('node:fs');
const path = require('node:path');

const [clients, out] = process.argv.slice(2).map((given) => path.resolve(given));
const modules = process.env.NODE_PATH;
const ts = require('typescript');

const STRICT = {
  noEmit: true,
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  target: ts.ScriptTarget.ES2020,
  lib: ['lib.es2020.d.ts'],
  types: ['miniprogram-api-typings'],
};
const WAYS = {
  node: { module: ts.ModuleKind.CommonJS, moduleResolution: ts.ModuleResolutionKind.Node10 },
  node16: { module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16 },
  bundler: { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler },
};

/** A block as a module: `require` tells TypeScript nothing of types. */
const moduleOf = (block) => {
  const imports = [];
  const body = block.replace(/^const (\{.*\}) = require\('(.*)'\);.*$/gm, (_, names, from) => {
    imports.push(`import ${names} from '${from}';`);
    return '';
  });
  // What a block has of the one before.
  if (!/\bclient =/.test(body)) imports.push("import { Client as C } from 'weappd-client';", 'declare const client: C;');
  return `${imports.join('\n')}\ndeclare const tempFilePath: string;\nexport async function block() {\n${body}}\n`;
};

const installed = path.join(out, 'node_modules');
const home = path.join(installed, 'weappd-client');
fs.mkdirSync(home, { recursive: true });
fs.copyFileSync(path.join(clients, 'package.json'), path.join(home, 'package.json'));
fs.cpSync(path.join(clients, 'src'), path.join(home, 'src'), { recursive: true });
fs.cpSync(path.join(clients, 'src'), path.join(out, 'weappd-client'), { recursive: true });
fs.symlinkSync(path.join(modules, 'miniprogram-api-typings'), path.join(installed, 'miniprogram-api-typings'));

const files = [];
const write = (name, text) => {
  files.push(path.join(out, name));
  fs.writeFileSync(path.join(out, name), text);
};
const usage = fs.readFileSync(path.join(__dirname, 'usage.ts'), 'utf8');
write('installed.ts', usage);
write('copied.ts', usage.replaceAll("'weappd-client'", "'./weappd-client/index'").replaceAll("'weappd-client/", "'./weappd-client/"));
const readme = fs.readFileSync(path.join(clients, 'README.md'), 'utf8');
const blocks = readme.split('```').filter((block, at) => at % 2 && block.startsWith('js\n'));
blocks.forEach((block, at) => write(`readme-${at}.ts`, moduleOf(block.slice(3))));

let wrong = 0;
process.chdir(out);
for (const [name, way] of Object.entries(WAYS)) {
  const program = ts.createProgram(files, { ...STRICT, ...way });
  const found = ts.getPreEmitDiagnostics(program);
  wrong += found.length;
  const host = { getCanonicalFileName: (file) => file, getCurrentDirectory: () => out, getNewLine: () => '\n' };
  if (found.length) console.log(`moduleResolution ${name}:\n${ts.formatDiagnostics(found, host)}`);
}
console.log(`${files.length} files, ${Object.keys(WAYS).length} ways, ${wrong} wrong`);
process.exitCode = wrong ? 1 : 0;
