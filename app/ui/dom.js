/*
 * Elements. Texts from outside (names, errors, logs) become text nodes here and nothing else: no string is ever
 * parsed as HTML, and styles are set through the CSSOM, which the content security policy allows.
 */

/* h('a', { href, class, onclick, 'data-x': … }, child…): children are nodes, texts, or nothing (null, false). */
export function h(name, properties, ...children) {
	const element = document.createElement(name);
	for (const [key, value] of Object.entries(properties ?? {})) {
		if (value === null || value === undefined || value === false)
			continue;
		if (key.startsWith('on'))
			element.addEventListener(key.slice(2), value);
		else if (key === 'value' || key === 'checked' || key === 'disabled' || key === 'indeterminate')
			element[key] = value;
		else
			element.setAttribute(key, value === true ? '' : String(value));
	}
	add(element, children);
	return element;
}

function add(element, children) {
	for (const child of children.flat(Infinity)) {
		if (child !== null && child !== undefined && child !== false)
			element.append(child instanceof Node ? child : String(child));
	}
}

export function replace(element, ...children) {
	element.replaceChildren();
	add(element, children);
}

/* Leaves the element alone where the text is the same, so that a selection in it stays. */
export function setText(element, text) {
	if (element.textContent !== text)
		element.textContent = text;
}

export const byId = (id) => document.getElementById(id);

const FOCUSABLE = 'a[href], button, input, select, textarea, summary';

/* Does `change`; whoever of `element`'s children had the focus has it afterwards, by its id, or its place among them. */
export function keepFocus(element, change) {
	const all = () => [...element.querySelectorAll(FOCUSABLE)];
	const had = document.activeElement, at = all().indexOf(had);
	change();
	if (at >= 0)
		(had.id ? byId(had.id) : all()[at])?.focus({ preventScroll: true });
}

/*
 * A table of items. columns: [{ name, cell(item) -> node or text, class }]. key(item) says which row is which: rows
 * whose item has not changed are left alone, with focus and selection. set(items, salt) shows them; `empty` is said
 * where there are none, or what sayEmpty(text) has said since.
 */
export function table({ id, caption, columns, key, empty = 'Nothing here.', rowAttributes }) {
	const body = h('tbody');
	const nothing = h('p', { class: 'empty' }, 'Looking…');
	const element = h('div', { class: 'scroll none' },
		h('table', { id },
			h('caption', { class: 'sr' }, caption),
			h('thead', null, h('tr', null, columns.map((column) => h('th', { scope: 'col', class: column.class }, column.name)))),
			body),
		nothing);
	const rows = new Map();

	function fill(row, item) {
		const cells = columns.map((column) => h('td', { class: column.class, 'data-name': column.label ?? column.name }, column.cell(item)));
		keepFocus(row, () => row.replaceChildren(...cells));
	}
	function set(items, salt = '') {
		setText(nothing, empty);
		/* First what has gone, so that no other row has to be moved, which would take the focus from it. */
		const kept = new Set(items.map((item) => String(key(item))));
		for (const [name, entry] of rows) {
			if (!kept.has(name)) {
				entry.row.remove();
				rows.delete(name);
			}
		}
		items.forEach((item, place) => {
			const name = String(key(item));
			const shown = JSON.stringify(item) + salt;
			let entry = rows.get(name);
			if (!entry) {
				entry = { row: h('tr', { 'data-key': name, ...rowAttributes?.(item) }), shown: null };
				rows.set(name, entry);
			}
			if (entry.shown !== shown) {
				fill(entry.row, item);
				entry.shown = shown;
			}
			if (body.children[place] !== entry.row)
				body.insertBefore(entry.row, body.children[place] ?? null);
		});
		nothing.hidden = items.length > 0;
		element.classList.toggle('none', items.length === 0);
	}
	return { element, set, sayEmpty: (text) => setText(nothing, text ?? empty) };
}

export function heading(title, ...rest) {
	return h('div', { class: 'heading' }, h('h1', { id: 'title' }, title), ...rest);
}

/* A line at the corner that goes by itself; failures stay longer. Answers it, so that another may take its place. */
export function toast(text, failed = false, before = null) {
	const line = h('div', { class: failed ? 'toast failed' : 'toast' }, text);
	before?.remove();
	byId('toasts').append(line);
	setTimeout(() => line.remove(), failed ? 12000 : 5000);
	return line;
}
