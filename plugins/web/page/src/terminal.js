// The terminal: xterm.js with its add-ons, its size, its colours, what it may do with links and the clipboard.
import {ClipboardAddon} from '@xterm/addon-clipboard';
import {FitAddon} from '@xterm/addon-fit';
import {SerializeAddon} from '@xterm/addon-serialize';
import {Unicode11Addon} from '@xterm/addon-unicode11';
import {WebLinksAddon} from '@xterm/addon-web-links';
import {WebglAddon} from '@xterm/addon-webgl';
import {Terminal} from '@xterm/xterm';

const DARK = {
  background: '#0f1720', foreground: '#d7e0e6', cursor: '#8fd3c4', cursorAccent: '#0f1720', selectionBackground: '#2f4a5e',
  black: '#1b2733', red: '#e5736c', green: '#7fc58e', yellow: '#d9b469', blue: '#71a8e0', magenta: '#b894dd',
  cyan: '#68bfc0', white: '#c4d0d8', brightBlack: '#6d8090', brightRed: '#f2938c', brightGreen: '#9cdba8',
  brightYellow: '#ecca86', brightBlue: '#93c1f0', brightMagenta: '#cfb0ec', brightCyan: '#8ad6d6', brightWhite: '#f3f7f9',
};
const LIGHT = {
  background: '#fbfaf7', foreground: '#22303c', cursor: '#1f7a6d', cursorAccent: '#fbfaf7', selectionBackground: '#c9dde8',
  black: '#22303c', red: '#b3342c', green: '#2f7a3f', yellow: '#8a6100', blue: '#1f62a8', magenta: '#7a429f',
  cyan: '#14727a', white: '#67757f', brightBlack: '#5a6872', brightRed: '#c8443c', brightGreen: '#38894a',
  brightYellow: '#976c00', brightBlue: '#2a70ba', brightMagenta: '#8a4fb2', brightCyan: '#1b7f88', brightWhite: '#3a4853',
};
const FONT = 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace';

const openPage = uri => {
  if (/^https?:/i.test(uri)) window.open(uri, '_blank', 'noopener,noreferrer');
};

// The program may put text on the clipboard (OSC 52), never read it.
function clipboard(offer) {
  return {
    readText: async () => '',
    async writeText(selection, text) {
      try { await navigator.clipboard.writeText(text); } catch { offer(text); }
    },
  };
}

const FONT_MIN = 9, COLUMNS = 60; // the dashboard needs so many columns for its short form

export class Screen {
  #fit = new FitAddon();
  #serialize = new SerializeAddon();
  #webgl = null;
  #element;
  #wanted = Number(localStorage.getItem('odto_font') || 14);

  constructor(element, {input, resized, offerCopy}) {
    this.#element = element;
    const term = this.term = new Terminal({
      allowProposedApi: true, fontFamily: FONT, fontSize: this.#wanted, lineHeight: 1,
      scrollback: 5000, minimumContrastRatio: 4.5, macOptionIsMeta: true, theme: DARK, cursorBlink: false,
      linkHandler: {activate: (event, uri) => window.confirm(`Open this address?\n\n${uri}`) && openPage(uri), allowNonHttpProtocols: false},
    });
    term.loadAddon(this.#fit);
    term.loadAddon(this.#serialize);
    term.loadAddon(new Unicode11Addon());
    term.unicode.activeVersion = '11';
    term.loadAddon(new WebLinksAddon((event, uri) => openPage(uri)));
    term.loadAddon(new ClipboardAddon(undefined, clipboard(offerCopy)));
    term.parser.registerOscHandler(52, data => data.endsWith(';?')); // asked to read: no answer at all
    term.open(element);
    this.#useWebgl();
    this.fit();
    term.onData(input);
    term.onBinary(data => input(data));
    term.onResize(({cols, rows}) => resized(cols, rows));
    term.attachCustomKeyEventHandler(event => this.#key(event));
    let due = 0;
    new ResizeObserver(() => { clearTimeout(due); due = setTimeout(() => this.fit(), 50); }).observe(element.parentElement);
  }

  #useWebgl() {
    try {
      const addon = new WebglAddon();
      addon.onContextLoss(() => { // the DOM renderer takes over; it leaves gaps in frames where lines are further apart
        addon.dispose();
        this.#webgl = null;
        this.term.options.lineHeight = 1;
        this.fit();
      });
      this.term.loadAddon(addon);
      this.#webgl = addon;
      this.term.options.lineHeight = 1.1;
    } catch {
      this.#webgl = null;
    }
  }
  get renderer() { return this.#webgl ? 'webgl' : 'dom'; }

  // Shift+Escape leaves the terminal, which takes Tab for itself; Ctrl+Shift+C copies.
  #key(event) {
    if (event.type !== 'keydown') return true;
    if (event.key === 'Escape' && event.shiftKey) {
      document.querySelector('.tools button').focus();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && event.code === 'KeyC' && this.term.hasSelection()) {
      event.preventDefault();
      navigator.clipboard?.writeText(this.term.getSelection());
      return false;
    }
    return true;
  }

  get size() { return {cols: this.term.cols, rows: this.term.rows}; }

  fit() {
    if (this.#element.clientWidth === 0 || this.#element.clientHeight === 0) return;
    let size = this.#wanted;
    do { // smaller on a narrow screen, as long as it can be read
      this.term.options.fontSize = size;
      size -= 0.5;
    } while (size >= FONT_MIN && this.#fit.proposeDimensions()?.cols < COLUMNS);
    this.#fit.fit();
  }

  zoom(step) {
    this.#wanted = Math.max(FONT_MIN, Math.min(32, this.#wanted + step));
    localStorage.setItem('odto_font', String(this.#wanted));
    this.fit();
  }

  write(data, done) { this.term.write(data, done); }
  reset() { this.term.reset(); }
  focus() { this.term.focus(); }
  theme(dark) { this.term.options.theme = dark ? DARK : LIGHT; }
  set screenReader(on) { this.term.options.screenReaderMode = on; }
  paste(text) { this.term.paste(text); }

  // The screen as text with its attributes: shown at once after a reload, until the broker has sent the real one.
  snapshot() { return this.#serialize.serialize({scrollback: 0}); }

  // Every cell of the visible screen, for tests.
  cells() {
    const buffer = this.term.buffer.active, out = [];
    for (let y = 0; y < this.term.rows; y++) {
      const line = buffer.getLine(buffer.baseY + y), row = [];
      for (let x = 0; x < this.term.cols; x++) {
        const c = line?.getCell(x);
        row.push(c ? [c.getChars(), c.getWidth(), c.getFgColorMode(), c.getFgColor(), c.getBgColorMode(), c.getBgColor(),
          c.isBold() ? 1 : 0, c.isInverse() ? 1 : 0, c.isUnderline() ? 1 : 0] : null);
      }
      out.push(row);
    }
    return {cols: this.term.cols, rows: this.term.rows, type: buffer.type, x: buffer.cursorX, y: buffer.cursorY, cells: out};
  }
}
