/* Renders an OpenAPI 3 document as a page that needs nothing from the internet, and lets one try the routes.
 * It answers to the name and the options that Swagger UI has (SwaggerUIBundle({url, dom_id})). All text goes
 * into the page as text nodes, never as HTML. */
'use strict';

(function () {
  const METHODS = ['get', 'post', 'put', 'patch', 'delete', 'options', 'head'];

  function make(name, attributes, ...children) {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes || {})) {
      if (k in e && typeof v !== 'string') e[k] = v; else e.setAttribute(k, v);
    }
    for (const c of children.flat(Infinity)) {
      if (c !== null && c !== undefined && c !== '') e.append(c);
    }
    return e;
  }

  /* The description as paragraphs; `code` between back quotes. */
  function prose(text) {
    return String(text || '').split(/\n\s*\n/).filter(Boolean).map(p =>
      make('p', {}, p.split('`').map((part, i) => (i % 2 ? make('code', {}, part) : part))));
  }

  function resolver(spec) {
    return function resolve(node) {
      const seen = new Set();
      while (node && typeof node.$ref === 'string' && node.$ref.startsWith('#/') && !seen.has(node.$ref)) {
        seen.add(node.$ref);
        node = node.$ref.slice(2).split('/').reduce(
          (at, key) => at && at[key.replace(/~1/g, '/').replace(/~0/g, '~')], spec);
      }
      return node || {};
    };
  }

  function typeText(schema, resolve) {
    if (schema.$ref) return schema.$ref.split('/').pop();
    const s = resolve(schema);
    if (s.enum) return s.enum.map(v => JSON.stringify(v)).join(' | ');
    if (s.type === 'array') return 'array of ' + typeText(s.items || {}, resolve);
    return [Array.isArray(s.type) ? s.type.join(' | ') : s.type || 'any', s.format && '(' + s.format + ')']
      .filter(Boolean).join(' ');
  }

  function example(schema, resolve, depth) {
    const s = resolve(schema);
    if (s.example !== undefined) return s.example;
    if (s.default !== undefined) return s.default;
    if (s.enum) return s.enum[0];
    if (depth > 5) return null;
    if (s.allOf) return Object.assign({}, ...s.allOf.map(p => example(p, resolve, depth + 1)));
    if (s.oneOf || s.anyOf) return example((s.oneOf || s.anyOf)[0], resolve, depth + 1);
    if (s.type === 'array') return s.items ? [example(s.items, resolve, depth + 1)] : [];
    if (s.type === 'object' || s.properties) {
      const out = {};
      for (const [k, v] of Object.entries(s.properties || {})) out[k] = example(v, resolve, depth + 1);
      return out;
    }
    if (s.format === 'uuid') return '01890a5d-ac96-774b-bcce-b302099a8057';
    if (s.format === 'date-time') return '2025-01-01T00:00:00.000Z';
    return {string: 'string', integer: 0, number: 0, boolean: true}[s.type] ?? null;
  }

  function properties(schema, resolve) {
    const s = resolve(schema);
    const required = new Set(s.required || []);
    const rows = Object.entries(s.properties || {}).map(([name, p]) => make('tr', {},
      make('td', {}, make('code', {}, name), required.has(name) ? make('span', {class: 'required'}, ' *') : ''),
      make('td', {}, typeText(p, resolve)),
      make('td', {}, prose(resolve(p).description))));
    if (rows.length === 0) return make('p', {class: 'muted'}, typeText(s, resolve));
    return table(['Field', 'Type', 'Meaning'], rows);
  }

  function table(heads, rows) {
    return make('table', {}, make('thead', {}, make('tr', {}, heads.map(h => make('th', {scope: 'col'}, h)))),
      make('tbody', {}, rows));
  }

  function content(node, resolve) {
    return Object.entries(node.content || {}).map(([type, media]) => {
      const shown = media.example !== undefined ? media.example : example(media.schema || {}, resolve, 0);
      return make('div', {}, make('p', {class: 'muted'}, type + ' ', make('code', {}, typeText(media.schema || {}, resolve))),
        make('pre', {}, typeof shown === 'string' ? shown : JSON.stringify(shown, null, 2)));
    });
  }

  function parametersTable(parameters, resolve) {
    if (parameters.length === 0) return '';
    return make('div', {}, make('h4', {}, 'Parameters'), table(['Name', 'In', 'Type', 'Meaning'], parameters.map(p => make('tr', {},
      make('td', {}, make('code', {}, p.name), p.required ? make('span', {class: 'required'}, ' *') : ''),
      make('td', {}, p.in), make('td', {}, typeText(p.schema || {}, resolve)), make('td', {}, prose(p.description))))));
  }

  /* A form that sends the request from this page and shows the answer. */
  function tryOut(method, path, parameters, body, resolve, base) {
    const inputs = parameters.filter(p => p.in !== 'cookie').map(p => ({p, e: make('input', {name: p.name, autocomplete: 'off'})}));
    const type = body ? Object.keys(body.content || {})[0] : null;
    const text = type && make('textarea', {'aria-label': 'Request body', spellcheck: 'false'});
    const shown = type && (body.content[type].example ?? example(body.content[type].schema || {}, resolve, 0));
    if (text) text.value = JSON.stringify(shown, null, 2);
    const out = make('pre', {hidden: true, 'aria-live': 'polite'});
    const form = make('form', {}, inputs.map(i => make('label', {}, i.p.name + ' ', i.e)), text, make('button', {}, 'Send'));
    form.addEventListener('submit', async event => {
      event.preventDefault();
      const query = new URLSearchParams(), headers = {};
      let url = path;
      for (const {p, e} of inputs) {
        if (p.in === 'path') url = url.replace('{' + p.name + '}', encodeURIComponent(e.value));
        else if (e.value && p.in === 'query') query.append(p.name, e.value);
        else if (e.value) headers[p.name] = e.value;
      }
      if (text) headers['Content-Type'] = type;
      const began = performance.now(), abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), 10000);
      out.hidden = false;
      out.textContent = '…';
      try {
        const r = await fetch(base + url + (query.toString() && '?' + query),
          {method: method.toUpperCase(), headers, body: text ? text.value : undefined, signal: abort.signal});
        let answer = await r.text();
        try { answer = JSON.stringify(JSON.parse(answer), null, 2); } catch { /* not JSON: as it is */ }
        out.textContent = r.status + ' ' + r.statusText + ' in ' + Math.round(performance.now() - began) + ' ms\n\n' + answer;
      } catch (e) {
        out.textContent = 'The request failed: ' + e.message;
      }
      clearTimeout(timer);
    });
    return make('div', {}, make('h4', {}, 'Try it'), form, out);
  }

  function operation(method, path, op, shared, resolve, base) {
    const parameters = [...(shared || []), ...(op.parameters || [])].map(resolve);
    const body = op.requestBody && resolve(op.requestBody);
    const responses = Object.entries(op.responses || {}).map(([code, r]) => make('div', {},
      make('p', {}, make('strong', {}, code + ' '), resolve(r).description || ''), content(resolve(r), resolve)));
    return make('details', {class: 'operation', id: (op.operationId || method + path)},
      make('summary', {}, make('span', {class: 'method ' + method}, method.toUpperCase()), make('span', {class: 'path'}, path),
        make('span', {class: 'muted'}, op.summary || '')),
      make('div', {}, prose(op.description), parametersTable(parameters, resolve),
        body ? [make('h4', {}, 'Request body'), prose(body.description), content(body, resolve)] : '',
        make('h4', {}, 'Responses'), responses, tryOut(method, path, parameters, body, resolve, base)));
  }

  function render(root, spec, base) {
    const resolve = resolver(spec), groups = new Map();
    for (const [path, item] of Object.entries(spec.paths || {})) {
      for (const method of METHODS.filter(m => item[m])) {
        const tag = (item[method].tags || ['Routes'])[0];
        if (!groups.has(tag)) groups.set(tag, []);
        groups.get(tag).push(operation(method, path, item[method], item.parameters, resolve, base));
      }
    }
    const schemas = Object.entries((spec.components || {}).schemas || {}).map(([name, s]) => make('details', {class: 'operation'},
      make('summary', {}, make('code', {}, name)), make('div', {}, prose(s.description), properties(s, resolve))));
    document.title = spec.info.title;
    root.replaceChildren(
      make('header', {}, make('h1', {}, spec.info.title),
        make('p', {class: 'muted'}, 'Version ' + spec.info.version + ', OpenAPI ' + spec.openapi + ', ',
          make('a', {href: base + '/openapi.json'}, 'openapi.json')), prose(spec.info.description)),
      ...[...groups].map(([tag, list]) => make('section', {}, make('h2', {}, tag), list)),
      schemas.length ? make('section', {}, make('h2', {}, 'Schemas'), schemas) : '');
  }

  async function SwaggerUIBundle(config) {
    const root = document.querySelector(config.dom_id);
    const base = location.pathname.replace(/\/docs\/?$/, '');
    try {
      const r = await fetch(base + config.url);
      if (!r.ok) throw new Error('HTTP ' + r.status);
      render(root, await r.json(), base);
    } catch (e) {
      root.replaceChildren(make('p', {class: 'error', role: 'alert'},
        'The description of this API could not be read from ' + base + config.url + ': ' + e.message));
    }
  }

  window.SwaggerUIBundle = SwaggerUIBundle;
  const config = JSON.parse(document.getElementById('docs-config').textContent);
  window[config.bundle](config);
})();
