// The broker's token: asked for when the broker refuses, given once to the server, which keeps it in a cookie that
// no script can read. It stands in no URL and in no storage of the page.
export class Login {
  #dialog = document.getElementById('login');
  #token = document.getElementById('login-token');
  #error = document.getElementById('login-error');
  #handlers;

  constructor(handlers) {
    this.#handlers = handlers;
    document.getElementById('login-form').addEventListener('submit', event => {
      event.preventDefault();
      this.#submit();
    });
    document.getElementById('login-cancel').addEventListener('click', () => this.#dialog.close());
    this.#dialog.addEventListener('close', () => this.#dialog.returnValue !== 'sent' && handlers.cancelled());
  }

  ask(code) {
    this.#say(code === 'AUTH_FAILED' ? 'That token is not the right one.' : '');
    this.#dialog.returnValue = '';
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#token.value = '';
    this.#token.focus();
  }

  #say(text) {
    this.#error.textContent = text;
    this.#error.hidden = !text;
  }

  async #submit() {
    const token = this.#token.value.trim();
    try {
      const r = await fetch('login', {method: 'POST', headers: {Authorization: `Bearer ${token}`}});
      if (!r.ok) throw new Error((await r.json().catch(() => ({}))).details?.[0]?.message ?? `the server answered ${r.status}`);
    } catch (e) {
      this.#say(`This token can't be used: ${e.message}.`);
      return;
    }
    this.#token.value = '';
    this.#dialog.close('sent');
    this.#handlers.accepted();
  }

  async logout() {
    await fetch('logout', {method: 'POST'}).catch(() => {});
  }
}
