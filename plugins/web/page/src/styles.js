// The page's policy allows no inline style, neither <style> elements nor style="…". xterm.js writes both. What is set
// through the object model is allowed, so: who asks for a <style> gets an element that passes what is written into it to
// a constructed style sheet, and a style attribute is set as the element's style.
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

const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function setOrStyle(name, value) {
  if (String(name).toLowerCase() === 'style' && this.style) this.style.cssText = value; else setAttribute.call(this, name, value);
};
