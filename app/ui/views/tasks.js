/*
 * Many tasks, the newest first, a page at a time. The filters stand in the address bar: a page can be sent to
 * somebody, and Back works. Pages are cut by id, so a million tasks are as quick as ten.
 */
import { ACTIONS, actOnMatching, actOnSelected, allows } from '../actions.js';
import * as api from '../api.js';
import { byId, h, heading, replace, setText, table } from '../dom.js';
import * as format from '../format.js';

const STATES = ['scheduled', 'queued', 'running', 'retrying', 'succeeded', 'dead', 'cancelled', 'expired'];
const LIMIT = 50;
const ARGUMENTS_MAX = 4;
const LOOKS_MAX = 20; /* short pages that are joined before one is shown */
const PACE_MS = 3000, PACE_LOOKS = 10; /* between two looks, and so many times as long as one takes */

/* The filter as GET /tasks takes it, of what stands in the address bar. */
function filterOf(query) {
	return { state: query.getAll('state'), handler: query.get('handler'), queue: query.get('queue'), text: query.get('text'),
		from: query.get('from'), to: query.get('to'), arg: query.getAll('arg').slice(0, ARGUMENTS_MAX) };
}

const isEmpty = (filter) => Object.values(filter).every((value) => value === null || value.length === 0);

function describe(filter) {
	const parts = [filter.state.length && filter.state.join(' or '), filter.handler && `handler ${filter.handler}`, filter.queue && `queue ${filter.queue}`,
		filter.text && `text “${filter.text}”`, filter.from && `from ${filter.from}`, filter.to && `until ${filter.to}`, ...filter.arg];
	return parts.filter(Boolean).join(', ') || 'every task';
}

function address(filter, cursor) {
	const query = new URLSearchParams();
	for (const [name, value] of Object.entries(filter))
		for (const each of Array.isArray(value) ? value : [value])
			if (each)
				query.append(name, each);
	if (cursor)
		query.set('cursor', cursor);
	return `#/tasks${query.size > 0 ? `?${query}` : ''}`;
}

/* datetime-local has no zone: it is this machine's. */
const toLocal = (text) => {
	const at = new Date(text);
	return Number.isNaN(at.getTime()) ? '' : new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
};
const fromLocal = (text) => (text ? new Date(text).toISOString() : null);

/* ---- the filter's form ------------------------------------------------------------------- */

function argumentField(value) {
	return h('input', { type: 'text', class: 'argument', value: value ?? '', placeholder: 'email=ada@example.org', 'aria-label': 'Argument field, PATH=VALUE',
		pattern: '[^=]+=.*', autocomplete: 'off', spellcheck: 'false' });
}

function filterForm(filter, go) {
	const field = (id, label, properties) => h('label', { class: 'field', for: id }, label, h('input', { id, autocomplete: 'off', spellcheck: 'false', ...properties }));
	const args = h('span', { class: 'arguments' }, (filter.arg.length > 0 ? filter.arg : ['']).map(argumentField));
	const more = h('button', { type: 'button', class: 'link', id: 'filter-argument-more', onclick: () => {
		if (args.childElementCount < ARGUMENTS_MAX)
			args.append(argumentField());
		args.lastElementChild.focus();
		more.hidden = args.childElementCount >= ARGUMENTS_MAX;
	} }, 'another field');
	const states = h('fieldset', { class: 'states' }, h('legend', { class: 'sr' }, 'States'), STATES.map((name) =>
		h('label', { class: `chip ${name}` }, h('input', { type: 'checkbox', name: 'state', value: name, checked: filter.state.includes(name), onchange: apply }), name)));
	const isDetailed = Boolean(filter.from || filter.to || filter.arg.length);
	const form = h('form', { id: 'filter', class: 'filter', role: 'search', 'aria-label': 'Filter the tasks', onsubmit: (event) => { event.preventDefault(); apply(); } },
		states,
		h('div', { class: 'fields' },
			field('filter-handler', 'Handler', { type: 'text', value: filter.handler ?? '', maxlength: 63, pattern: '[A-Za-z0-9_\\-][A-Za-z0-9._\\-]*' }),
			field('filter-queue', 'Queue', { type: 'text', value: filter.queue ?? '', maxlength: 63, pattern: '[A-Za-z0-9_\\-][A-Za-z0-9._\\-]*' }),
			field('filter-text', 'Text', { type: 'search', value: filter.text ?? '', placeholder: 'id, error, arguments…' }),
			h('button', { type: 'submit', class: 'primary', id: 'filter-apply' }, 'Filter'),
			!isEmpty(filter) && h('a', { class: 'button', id: 'filter-clear', href: '#/tasks' }, 'Clear')),
		h('details', { open: isDetailed }, h('summary', null, 'Time and arguments'), h('div', { class: 'fields' },
			field('filter-from', 'Created from', { type: 'datetime-local', value: filter.from ? toLocal(filter.from) : '' }),
			field('filter-to', 'until', { type: 'datetime-local', value: filter.to ? toLocal(filter.to) : '' }),
			h('span', { class: 'field' }, 'Argument fields', args), more)));
	function apply() {
		if (!form.reportValidity())
			return;
		const text = (id) => byId(id).value.trim() || null;
		go(address({ state: [...form.querySelectorAll('[name=state]:checked')].map((box) => box.value), handler: text('filter-handler'),
			queue: text('filter-queue'), text: text('filter-text'), from: fromLocal(text('filter-from')), to: fromLocal(text('filter-to')),
			arg: [...args.children].map((input) => input.value.trim()).filter(Boolean) }));
	}
	return form;
}

/* ---- the list ---------------------------------------------------------------------------- */

/* Of one that runs the error is its last attempt's. */
function progress(task) {
	if (task.state !== 'running')
		return task.error !== null && task.state !== 'succeeded' ? h('span', { class: 'cut bad-text', title: task.error }, task.error) : '';
	if (task.progress.total > 0)
		return [h('progress', { max: task.progress.total, value: Math.min(task.progress.done, task.progress.total), 'aria-label': 'Progress' }), ' ',
			format.percent(task.progress.done, task.progress.total)];
	return task.progress.text ? h('span', { class: 'cut dim' }, task.progress.text) : '';
}

function took(task) {
	if (task.started === null)
		return '–';
	return task.state === 'running' ? format.since(task.started) : task.ended ? format.between(format.ms(task.started), format.ms(task.ended)) : '–';
}

/* Joins short pages until one is full or nothing more is found: each asks for bounded work. */
async function fetchPage(filter, cursor, signal, onPart) {
	const tasks = [];
	for (let looks = 0; looks < LOOKS_MAX; looks++) {
		const answer = await api.get('tasks', { ...filter, limit: LIMIT - tasks.length, cursor }, signal);
		tasks.push(...answer.tasks);
		cursor = api.cursorOf(answer.next);
		onPart(tasks);
		if (cursor === null || tasks.length >= LIMIT)
			break;
	}
	return { tasks, next: cursor };
}

function listTable(selected, onSelection) {
	const box = (task) => h('input', { type: 'checkbox', 'data-select': task.id, checked: selected.has(task.id), 'aria-label': `Select ${task.handler} ${format.shortId(task.id)}`,
		onchange: (event) => {
			if (event.target.checked)
				selected.set(task.id, task);
			else
				selected.delete(task.id);
			onSelection();
		} });
	return table({ id: 'tasks', caption: 'Tasks, the newest first', key: (task) => task.id, empty: 'No task matches.', columns: [
		{ name: 'Select', label: '', class: 'select', cell: box },
		{ name: 'State', cell: (task) => [format.state(task.state), task.cancelling && h('span', { class: 'dim small' }, ' being cancelled')] },
		{ name: 'Task', cell: (task) => [h('a', { href: `#/tasks/${task.id}` }, task.handler), ' ', h('code', { class: 'dim small', title: task.id }, format.shortId(task.id))] },
		{ name: 'Queue', cell: (task) => task.queue },
		{ name: 'Attempt', class: 'number', cell: (task) => format.attempt(task, '/') },
		{ name: 'Created', cell: (task) => format.when(task.created) },
		{ name: 'Took', class: 'number', cell: took },
		{ name: 'Says', class: 'wide', cell: progress },
	] });
}

export function tasks(query, { signal, lookAgain, go }) {
	const filter = filterOf(query), cursor = query.get('cursor');
	const selected = new Map();
	let page = [];
	const bar = h('div', { class: 'bar', id: 'bulk' });
	const list = listTable(selected, showBar);
	const looking = h('span', { class: 'dim', id: 'tasks-looking', role: 'status' });
	const newest = h('a', { class: 'button', id: 'page-newest', href: address(filter), hidden: cursor === null }, '← Newest');
	const older = h('a', { class: 'button', id: 'page-older', hidden: true }, 'Older →');
	const looked = h('p', { class: 'dim', id: 'tasks-looked', role: 'status', hidden: true });
	/* Few of many tasks match, and those below have not been looked at: nobody is to take that for the end. */
	function showEnd(answer) {
		const short = answer.next !== null && answer.tasks.length < LIMIT;
		list.sayEmpty(short ? 'None of the newest matches. “Older” looks on.' : null);
		looked.hidden = !short;
		replace(looked, short && ['Looked back to tasks of ', format.when(format.timeOfId(answer.next)), '.']);
		older.hidden = answer.next === null;
		if (answer.next !== null)
			older.href = address(filter, answer.next);
	}
	const again = (done) => {
		if (done)
			selected.clear();
		showBar();
		setTimeout(lookAgain, 300);
	};

	function button(name, text, act) {
		return h('button', { type: 'button', class: ACTIONS[name].danger ? 'danger' : null, 'data-action': name, onclick: async () => again(await act(name)) }, text);
	}
	function showBar() {
		const all = h('input', { type: 'checkbox', id: 'select-all', checked: page.length > 0 && selected.size === page.length,
			indeterminate: selected.size > 0 && selected.size < page.length, disabled: page.length === 0, onchange: (event) => {
				selected.clear();
				if (event.target.checked)
					page.forEach((task) => selected.set(task.id, task));
				list.set(page, String(event.target.checked) + selected.size);
				showBar();
			} });
		const names = Object.keys(ACTIONS);
		const matching = names.filter((name) => filter.state.length === 0 || filter.state.some((state) => ACTIONS[name].states.includes(state)));
		replace(bar, h('label', { class: 'check' }, all, selected.size > 0 ? `${selected.size} selected` : 'All on this page'),
			api.may('steer') && selected.size > 0 && h('span', { class: 'group', role: 'group', 'aria-label': 'Act on the selected tasks' },
				names.filter((name) => [...selected.values()].some((task) => allows(name, task.state))).map((name) => button(name, ACTIONS[name].label, () => actOnSelected(name, [...selected.values()])))),
			api.may('steer') && selected.size === 0 && !isEmpty(filter) && matching.length > 0 && h('details', { class: 'menu', id: 'matching' }, h('summary', { class: 'button' }, 'All that match…'),
				h('div', { class: 'group' }, matching.map((name) => button(name, ACTIONS[name].label, () => actOnMatching(name, filter, describe(filter)))))));
	}

	showBar();
	const view = {
		element: h('div', null, heading('Tasks', looking), filterForm(filter, go), bar, list.element, looked,
			h('nav', { class: 'pager', 'aria-label': 'Pages of the list' }, newest, older)),
		/* The first page is live; an older one does not change much. */
		every_ms: cursor === null ? PACE_MS : 0,
		async look() {
			const slow = setTimeout(() => setText(looking, 'looking…'), 400), begun = performance.now();
			try {
				const first = page.length === 0;
				const answer = await fetchPage(filter, cursor, signal, (part) => first && part.length > 0 && list.set(part));
				page = answer.tasks;
				for (const id of [...selected.keys()]) {
					const now = page.find((task) => task.id === id);
					if (now)
						selected.set(id, now);
					else
						selected.delete(id);
				}
				list.set(page);
				if (!bar.contains(document.activeElement) && bar.querySelector('details[open]') === null)
					showBar();
				showEnd(answer);
				if (view.every_ms)
					view.every_ms = Math.max(PACE_MS, PACE_LOOKS * (performance.now() - begun));
			} finally {
				clearTimeout(slow);
				setText(looking, '');
			}
		},
	};
	return view;
}
