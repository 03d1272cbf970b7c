// Makes the page: node build.mjs OUT. Bundles src/ into one script, compresses everything, writes OUT/files.list
// (path, type, tag, file — a line for each) from which the plugin's table is made.
import {createHash} from 'node:crypto';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {brotliCompressSync, constants, gzipSync} from 'node:zlib';
import {build} from 'esbuild';

const out = process.argv[2];
if (!out) {
  console.error('usage: node build.mjs OUT');
  process.exit(2);
}
mkdirSync(out, {recursive: true});

async function bundle(entry, loader) {
  const result = await build({
    entryPoints: [entry], bundle: true, minify: true, write: false, format: 'iife', target: ['es2022'],
    legalComments: 'eof', charset: 'utf8', logLevel: 'warning', ...loader,
  });
  return Buffer.from(result.outputFiles[0].contents);
}

const tag = bytes => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
const list = [];

function put(path, file, type, bytes) {
  const text = Buffer.from(bytes);
  writeFileSync(join(out, file), text);
  writeFileSync(join(out, file + '.gz'), gzipSync(text, {level: 9}));
  writeFileSync(join(out, file + '.br'), brotliCompressSync(text, {
    params: {[constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length},
  }));
  list.push(`${path}\t${type}\t${tag(text)}\t${file}`);
  return tag(text);
}

const script = await bundle('src/main.js');
const style = await bundle('style.css');
const icon = readFileSync('favicon.svg');
const versions = {
  'bundle.js': put('/bundle.js', 'bundle.js', 'text/javascript; charset=utf-8', script),
  'style.css': put('/style.css', 'style.css', 'text/css; charset=utf-8', style),
  'favicon.svg': put('/favicon.svg', 'favicon.svg', 'image/svg+xml', icon),
};
// what carries its version may be cached for ever
const page = readFileSync('index.html', 'utf8').replace(/(href|src)="([\w.]+)"/g,
  (all, name, file) => versions[file] ? `${name}="${file}?v=${versions[file]}"` : all);
put('/', 'index.html', 'text/html; charset=utf-8', page);
writeFileSync(join(out, 'files.list'), list.join('\n') + '\n');
