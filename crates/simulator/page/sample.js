// A picture to send for who has none at hand: hills under a low sun, other hues each time.

const SIZE = { width: 720, height: 480 };
let made = 0;

export async function samplePicture(who) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, SIZE);
  const hue = ({ alice: 320, bob: 200 }[who] ?? 150) + made * 34;
  made += 1;
  draw(canvas.getContext('2d'), hue);
  const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
  return new File([blob], `${who}-${made}.png`, { type: 'image/png' });
}

function draw(pen, hue) {
  const { width, height } = SIZE;
  const sky = pen.createLinearGradient(0, 0, 0, height);
  sky.addColorStop(0, `hsl(${hue} 62% 58%)`);
  sky.addColorStop(.55, `hsl(${hue + 48} 78% 76%)`);
  sky.addColorStop(1, `hsl(${hue + 70} 90% 88%)`);
  pen.fillStyle = sky;
  pen.fillRect(0, 0, width, height);

  const sunX = width * (.3 + .12 * (made % 4));
  for (const [radius, alpha] of [[120, .12], [84, .22], [54, .95]]) {
    pen.fillStyle = `hsl(${hue + 76} 100% 94% / ${alpha})`;
    pen.beginPath();
    pen.arc(sunX, height * .46, radius, 0, Math.PI * 2);
    pen.fill();
  }
  for (let row = 0; row < 4; row += 1) {
    pen.fillStyle = `hsl(${hue - 6 + row * 6} ${38 + row * 5}% ${58 - row * 12}%)`;
    pen.beginPath();
    pen.moveTo(0, height);
    for (let x = 0; x <= width; x += 8) {
      const wave = Math.sin(x / (150 - row * 18) + row * 2.1 + made) * (30 - row * 3)
        + Math.sin(x / (61 + row * 9) + made * 2) * 9;
      pen.lineTo(x, height * (.52 + row * .12) - wave);
    }
    pen.lineTo(width, height);
    pen.fill();
  }
}
