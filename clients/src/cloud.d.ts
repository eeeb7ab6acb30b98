import { Client, ClientOptions, WxTask } from './index';

export interface CloudOptions extends Partial<ClientOptions> {
  /** A client to share the session with, in place of `url`. */
  client?: Client;
  /** Other weappds by the name of their environment (`config.env`, `resourceEnv`). */
  urls?: Record<string, string>;
  /** Tencent's limits are 100 KiB, 1000 KiB and 15 s; raise them where you do not need them. */
  limits?: { requestBytes?: number; responseBytes?: number; timeout?: number };
}

/** Callbacks as everywhere in wx; without any, a promise comes. */
export interface Callbacks<T> {
  success?: (result: T) => void;
  fail?: (error: CloudError) => void;
  complete?: (result: T | CloudError) => void;
}

export interface CloudError {
  /** 40097 arguments, 102002 timeout, 102005 method, -501000 path or login,
   * -606001 request too long, -606002 answer too long, -1 anything else. */
  errCode: number;
  errMsg: string;
  callID: string;
}

export interface ContainerCall extends Callbacks<ContainerAnswer> {
  config?: { env?: string };
  path?: string;
  method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE' | 'OPTIONS' | 'TRACE' | 'CONNECT';
  header?: Record<string, string>;
  data?: string | object | ArrayBuffer;
  dataType?: string;
  responseType?: 'text' | 'arraybuffer';
  timeout?: number;
}

export interface ContainerAnswer<T = any> {
  data: T;
  statusCode: number;
  header: Record<string, string>;
  cookies?: string[];
  /** The X-WX-CALL-ID that the app saw. */
  callID: string;
  errMsg: string;
}

export interface ContainerSocket extends Callbacks<{ socketTask: WxTask; errMsg: string }> {
  config?: { env?: string };
  service?: string;
  path?: string;
  header?: Record<string, string>;
  protocols?: string[];
  tcpNoDelay?: boolean;
  perMessageDeflate?: boolean;
  timeout?: number;
}

export interface Containers {
  callContainer(call: ContainerCall): Promise<ContainerAnswer>;
  connectContainer(call: ContainerSocket): Promise<{ socketTask: WxTask; errMsg: string }>;
}

export interface CloudShim extends Containers {
  init(config?: { env?: string | Record<string, string>; traceUser?: boolean }): void;
  Cloud: new (config?: { identityless?: boolean; resourceAppid?: string; resourceEnv?: string; env?: string })
    => Containers & { init(config?: { env?: string }): Promise<void> };
}

/** A `wx.cloud` whose containers stand behind weappd. */
export function createCloud(options: CloudOptions): CloudShim;

/** The same, put where the mini program looks for it: `wx.cloud`. */
export function install(options: CloudOptions): CloudShim;

export const LIMITS: { requestBytes: number; responseBytes: number; timeout: number };
