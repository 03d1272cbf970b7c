// xterm.js writes its rules into <style> elements. The page's policy allows no inline style, and a constructed
// style sheet is none: who asks for a <style> gets an element that passes what is written into it to one of those.
const real = Document.prototype.createElement;

function standIn(element) {
  const sheet = new CSSStyleSheet();
  let text = '';
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  element.hidden = true;
  for (const name of ['textContent', 'innerHTML', 'innerText']) {
    Object.defineProperty(element, name, {get: () => text, set(css) { text = css; sheet.replaceSync(css); }});
  }
  Object.defineProperty(element, 'sheet', {value: sheet});
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter(s => s !== sheet);
    remove();
  };
  return element;
}

Document.prototype.createElement = function createElement(name, ...rest) {
  return String(name).toLowerCase() === 'style' ? standIn(real.call(this, 'x-style')) : real.call(this, name, ...rest);
};
