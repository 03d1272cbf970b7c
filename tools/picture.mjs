// picture.mjs URL SECONDS OUT.png — the page after so many seconds, as tools/picture wants it. Run where playwright-core is installed.
import {chromium} from 'playwright-core';

const [url, seconds, out] = process.argv.slice(2);
const browser = await chromium.launch({executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--headless', '--use-gl=angle',
  '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']});
try {
  const page = await browser.newPage({viewport: {width: 1120, height: 720}, colorScheme: 'dark'});
  await page.goto(url);
  await page.waitForFunction(() => window.__odtoTestHooks.getConnectionStatus().connected);
  await page.waitForTimeout(seconds * 1000);
  await page.screenshot({path: out});
} finally {
  await browser.close();
}
