/* A JSON value as nested <details>. Long texts and lists are cut, and given whole on demand. */
import { h } from './dom.js';

const OPEN_DEPTH = 2;
const ITEMS_SHOWN = 100;
const TEXT_SHOWN = 2000;

function scalar(value) {
	if (typeof value !== 'string')
		return h('span', { class: `json-${value === null ? 'null' : typeof value}` }, String(value));
	const text = JSON.stringify(value);
	const shown = h('span', { class: 'json-string' }, text.length > TEXT_SHOWN ? `${text.slice(0, TEXT_SHOWN)}…` : text);
	if (text.length <= TEXT_SHOWN)
		return shown;
	const more = h('button', { type: 'button', class: 'link', onclick: () => { shown.textContent = text; more.remove(); } }, 'all of it');
	return h('span', null, shown, ' ', more);
}

function entries(list, members) {
	const show = (from) => {
		list.append(...members.slice(from, from + ITEMS_SHOWN).map(([name, value, depth]) =>
			h('li', null, name !== null && [h('span', { class: 'json-name' }, JSON.stringify(name)), ': '], node(value, depth))));
		if (members.length > from + ITEMS_SHOWN) {
			const more = h('li', null, h('button', { type: 'button', class: 'link', onclick: () => { more.remove(); show(from + ITEMS_SHOWN); } },
				`${members.length - from - ITEMS_SHOWN} more`));
			list.append(more);
		}
	};
	show(0);
}

function node(value, depth) {
	if (value === null || typeof value !== 'object')
		return scalar(value);
	const isList = Array.isArray(value);
	const members = isList ? value.map((each) => [null, each, depth + 1]) : Object.entries(value).map(([name, each]) => [name, each, depth + 1]);
	if (members.length === 0)
		return h('span', { class: 'json-null' }, isList ? '[]' : '{}');
	const list = h('ul', { class: 'json-members' });
	const details = h('details', { open: depth < OPEN_DEPTH }, h('summary', null, isList ? `[${members.length}]` : `{${members.length}}`), list);
	/* What is closed is made when it is opened. */
	const fill = () => list.childElementCount === 0 && entries(list, members);
	if (depth < OPEN_DEPTH)
		fill();
	details.addEventListener('toggle', fill);
	return details;
}

export function jsonView(id, label, value) {
	const copy = h('button', { type: 'button', class: 'link', onclick: () => navigator.clipboard?.writeText(JSON.stringify(value, null, 2)) }, 'copy');
	return h('section', { class: 'json', id, 'aria-label': label }, h('h2', null, label, ' ', value !== undefined && value !== null && copy),
		value === undefined || value === null ? h('p', { class: 'dim' }, 'none') : node(value, 0));
}
