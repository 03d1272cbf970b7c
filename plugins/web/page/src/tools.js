// The buttons around the terminal: text size, colours, screen reader, and the keys of the dashboard for those who
// have a mouse or a touch screen.
const KEYS = {escape: '\x1b', tab: '\t', up: '\x1b[A', down: '\x1b[B', enter: '\r'};
const CHOICES = ['system', 'light', 'dark'];
const NAMES = {system: 'as the system', light: 'light', dark: 'dark'};

function setUpColours(screen) {
  const button = document.getElementById('theme-toggle'), system = matchMedia('(prefers-color-scheme: dark)');
  const stored = localStorage.getItem('odto_theme');
  let choice = CHOICES.includes(stored) ? stored : 'system';
  const apply = () => {
    document.documentElement.dataset.theme = choice;
    screen.theme(choice === 'dark' || (choice === 'system' && system.matches));
    button.setAttribute('aria-label', `Colours: ${NAMES[choice]}`);
    button.title = `Colours: ${NAMES[choice]}`;
  };
  button.addEventListener('click', () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    localStorage.setItem('odto_theme', choice);
    apply();
  });
  system.addEventListener('change', apply);
  apply();
}

function setUpReader(screen) {
  const button = document.getElementById('reader-toggle');
  let on = localStorage.getItem('odto_reader') === 'on';
  const apply = () => {
    screen.screenReader = on;
    button.setAttribute('aria-pressed', String(on));
  };
  button.addEventListener('click', () => {
    on = !on;
    localStorage.setItem('odto_reader', on ? 'on' : 'off');
    apply();
  });
  apply();
}

export function setUpTools(screen, input) {
  setUpColours(screen);
  setUpReader(screen);
  document.getElementById('font-smaller').addEventListener('click', () => screen.zoom(-1));
  document.getElementById('font-larger').addEventListener('click', () => screen.zoom(1));
  for (const hint of document.querySelectorAll('.hint[data-key]')) {
    hint.addEventListener('pointerdown', event => event.preventDefault()); // the terminal keeps the focus
    hint.addEventListener('click', event => {
      input(KEYS[hint.dataset.key] ?? hint.dataset.key);
      if (event.detail > 0) screen.focus();
    });
  }
}
