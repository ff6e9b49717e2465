/*
 * The dashboard's frame: the address bar comes in (#/page?filters), one view is shown. It asks for /stats every two
 * seconds, which the head line and the charts live of, and lets the view look again at its own pace. Nothing is
 * asked while the page is hidden or updates are paused.
 */
import * as api from './api.js';
import { ask } from './actions.js';
import { recolour } from './chart.js';
import { byId, h, replace, setText, toast } from './dom.js';
import { tickTimes } from './format.js';
import * as series from './series.js';
import { handlers } from './views/handlers.js';
import { overview } from './views/overview.js';
import { queues } from './views/queues.js';
import { ring } from './views/ring.js';
import { task } from './views/task.js';
import { tasks } from './views/tasks.js';
import { workers } from './views/workers.js';

const STATS_MS = 2000;

/*
 * A view: (parameters, context) -> { element, look() -> promise, every_ms, onStats?(stats), rest?(), leave?() }. It rests
 * while the page is hidden or updates are paused, until the next look.
 */
const ROUTES = [
	[/^\/?$/, 'overview', 'Overview', overview],
	[/^\/tasks\/([0-9a-fA-F-]{36})$/, 'tasks', 'Task', task],
	[/^\/tasks$/, 'tasks', 'Tasks', tasks],
	[/^\/queues$/, 'queues', 'Queues', queues],
	[/^\/handlers$/, 'handlers', 'Handlers', handlers],
	[/^\/workers$/, 'workers', 'Workers', workers],
	[/^\/ring$/, 'ring', 'Ring', ring],
];

let shown = null; /* { view, stop: AbortController, page, looked: something of it has been seen } */
let paused = false;
let timer = null;

const isLive = () => !document.hidden && !paused;

/* ---- views ------------------------------------------------------------------------------- */

function parse() {
	const [path, query] = location.hash.replace(/^#/, '').split(/\?(.*)/s);
	for (const [pattern, page, title, make] of ROUTES) {
		const match = pattern.exec(path);
		if (match)
			return { page, title, make, argument: match[1], query: new URLSearchParams(query ?? '') };
	}
	return null;
}

function leave() {
	clearTimeout(timer);
	shown?.stop.abort();
	shown?.view.leave?.();
	shown = null;
}

function show() {
	const wanted = parse();
	if (wanted === null) {
		location.replace('#/');
		return;
	}
	const moved = shown !== null && shown.page !== wanted.page + (wanted.argument ?? '');
	leave();
	const stop = new AbortController();
	const context = { signal: stop.signal, lookAgain, go: (hash) => { location.hash = hash; }, argument: wanted.argument, isLive };
	const view = wanted.make(wanted.query, context);
	shown = { view, stop, page: wanted.page + (wanted.argument ?? ''), looked: false };
	setTrouble('view', '');
	document.title = `${wanted.title} · taskring`;
	byId('main').dataset.page = wanted.argument ? 'task' : wanted.page;
	for (const link of document.querySelectorAll('#pages a')) {
		const current = link.dataset.page === wanted.page;
		if (current) {
			link.setAttribute('aria-current', 'page');
			/* For a list wider than a phone. Not by scrollIntoView(): in some browsers Tab then goes on from there, past the link that skips. */
			const list = link.closest('nav');
			list.scrollLeft = link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
		} else {
			link.removeAttribute('aria-current');
		}
	}
	replace(byId('main'), view.element);
	if (moved)
		byId('main').focus({ preventScroll: true });
	look();
}

/* One look of the view, then the next one after its pace. */
async function look() {
	clearTimeout(timer);
	const mine = shown;
	if (mine === null)
		return;
	try {
		await mine.view.look();
		if (mine === shown)
			setTrouble('view', '');
		mine.looked = true;
	} catch (error) {
		if (mine !== shown || error.name === 'AbortError')
			return;
		setTrouble('view', sentenceOf(error, mine.looked));
	}
	if (mine === shown && isLive() && mine.view.every_ms)
		timer = setTimeout(() => isLive() && look(), mine.view.every_ms);
}

const lookAgain = () => look();

function sentenceOf(error, looked) {
	if (!(error instanceof api.ApiError))
		throw error; /* our own bug: to the console */
	const text = looked ? `What you see may be old: ${error.message}.` : `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
	return error.status === 401 || error.status === 403 ? `${text} Log in to see this.` : text;
}

/* Of the view, or else of /stats. */
const troubles = { view: '', stats: '' };

function setTrouble(of, text) {
	troubles[of] = text;
	setText(byId('banner'), troubles.view || troubles.stats);
	byId('banner').hidden = byId('banner').textContent === '';
}

/* ---- the head line ----------------------------------------------------------------------- */

const LIVES = { running: ['alive', 'good'], starting: ['starts', 'fair'], draining: ['drains', 'fair'], hangs: ['hangs', 'bad'], stopped: ['is stopped', 'bad'], dead: ['is dead', 'bad'] };

function showLife(stats) {
	const [text, mood] = LIVES[stats.taskd.state];
	setText(byId('life'), `taskd ${text}`);
	byId('life').className = `life ${mood}`;
	byId('life').dataset.life = stats.taskd.state;
	setText(byId('instance'), stats.instance);
}

async function lookAtStats() {
	try {
		if (isLive()) {
			const stats = await api.get('stats');
			series.push(stats);
			showLife(stats);
			shown?.view.onStats?.(stats);
			setTrouble('stats', '');
		}
	} catch (error) {
		setText(byId('life'), error.status ? 'taskd: not known' : 'no connection');
		byId('life').className = 'life bad';
		byId('life').dataset.life = 'unknown';
		setTrouble('stats', sentenceOf(error, series.latest() !== null));
	} finally {
		setTimeout(lookAtStats, STATS_MS);
	}
}

async function showSession() {
	const { who, rights, canLogIn } = await api.readSession();
	setText(byId('who'), who ?? '');
	byId('who').title = rights.length > 0 ? `May ${rights.join(', ')}` : '';
	byId('login-open').hidden = !canLogIn || who !== null;
	byId('logout').hidden = who === null;
	document.documentElement.dataset.steers = api.may('steer');
}

async function logIn() {
	const field = byId('login-token'), fault = byId('login-fault');
	setText(fault, '');
	for (;;) {
		field.value = '';
		if ((await ask(byId('login'), field)) !== 'ok')
			break;
		try {
			await api.logIn(field.value);
			break;
		} catch (error) {
			setText(fault, error.status === 401 ? 'No one has this token.' : error.message);
		}
	}
	field.value = '';
	await showSession();
	show();
}

async function logOut() {
	await api.logOut().catch((error) => toast(error.message, true));
	await showSession();
	show();
}

function lookOrRest() {
	if (isLive())
		look();
	else
		shown?.view.rest?.();
}

function setPaused(value) {
	paused = value;
	byId('pause-live').setAttribute('aria-pressed', String(paused));
	document.documentElement.dataset.paused = paused;
	lookOrRest();
}

/* ---- light and dark ---------------------------------------------------------------------- */

const prefersDark = matchMedia('(prefers-color-scheme: dark)');

function applyTheme() {
	const chosen = localStorage.getItem('theme');
	document.documentElement.dataset.theme = chosen ?? (prefersDark.matches ? 'dark' : 'light');
	recolour();
}

function switchTheme() {
	const next = document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark';
	/* What the system prefers needs no choice. */
	if (next === (prefersDark.matches ? 'dark' : 'light'))
		localStorage.removeItem('theme');
	else
		localStorage.setItem('theme', next);
	applyTheme();
}

/* ---- keys -------------------------------------------------------------------------------- */

const GO = { o: '#/', t: '#/tasks', d: '#/tasks?state=dead', q: '#/queues', h: '#/handlers', w: '#/workers', r: '#/ring' };
let goUntil = 0;

function moveRow(step) {
	const rows = [...document.querySelectorAll('main tbody tr[data-key]')];
	if (rows.length === 0)
		return;
	const at = rows.indexOf(document.activeElement?.closest('tr'));
	const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
	(next.querySelector('a[href]') ?? next.querySelector('button, input'))?.focus();
}

const KEYS = {
	'?': () => ask(byId('help'), byId('help-close')),
	'/': () => { if (byId('filter-text')) byId('filter-text').focus(); else location.hash = '#/tasks'; },
	j: () => moveRow(1),
	k: () => moveRow(-1),
	x: () => document.activeElement?.closest('tr')?.querySelector('input[type=checkbox]')?.click(),
	d: switchTheme,
	p: () => setPaused(!paused),
	r: look,
	g: (event) => { goUntil = event.timeStamp + 1500; },
};

function onKey(event) {
	if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') ||
		event.target.closest?.('input:not([type=checkbox]), textarea, select'))
		return;
	/* By when the keys were pressed, not by when a busy page comes to them. */
	const gone = goUntil > event.timeStamp ? GO[event.key] : undefined;
	goUntil = 0;
	if (gone !== undefined) {
		event.preventDefault();
		location.hash = gone;
	} else if (KEYS[event.key]) {
		event.preventDefault();
		KEYS[event.key](event);
	}
}

/* ---- start ------------------------------------------------------------------------------- */

addEventListener('hashchange', show);
addEventListener('keydown', onKey);
document.addEventListener('visibilitychange', lookOrRest);
prefersDark.addEventListener('change', applyTheme);
byId('theme').addEventListener('click', switchTheme);
byId('pause-live').addEventListener('click', () => setPaused(!paused));
byId('help-open').addEventListener('click', KEYS['?']);
byId('login-open').addEventListener('click', logIn);
byId('logout').addEventListener('click', logOut);
/* Not submit buttons: the first one of a form is what Enter in a field presses. */
for (const button of document.querySelectorAll('dialog [data-close]'))
	button.addEventListener('click', () => button.closest('dialog').close('cancel'));
/* The link changes the fragment, which is the router's. */
byId('skip').addEventListener('click', (event) => { event.preventDefault(); byId('main').focus(); });
setInterval(() => isLive() && tickTimes(document), 1000);
applyTheme();
replace(byId('main'), h('p', { class: 'empty' }, 'Looking…'));
await showSession();
show();
lookAtStats();
