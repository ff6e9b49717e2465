/* The ring: how full it is, whose lanes live, what was refused or dropped. */
import * as api from '../api.js';
import { h, heading, setText, table } from '../dom.js';
import * as format from '../format.js';

/* [member, label, is it trouble when above 0, what it means] */
const FIGURES = [
	['batches', 'Batches taken', false, 'so far'],
	['records', 'Records taken', false, 'tasks and commands'],
	['bytes', 'Bytes taken', false, ''],
	['refused', 'Refused: full', true, 'clients got 503'],
	['damaged', 'Damaged', true, 'batches dropped'],
	['invalid', 'Invalid', true, 'records dropped'],
	['repairs', 'Repairs', true, 'cells and cursors set right'],
	['lanes_recycled', 'Lanes recycled', false, 'of producers that ended'],
];

export function ring(query, { signal }) {
	const used = h('meter', { id: 'ring-used', min: 0, 'aria-label': 'Cells used' }), usedText = h('span', { id: 'ring-used-text' });
	const cells = FIGURES.map(([member, label, , below]) => {
		const big = h('span', { class: 'big', 'data-value': member }, '–');
		return { big, card: h('li', null, h('div', { class: 'card' }, h('span', { class: 'label' }, label), big, h('span', { class: 'below' }, below))) };
	});
	const lanesText = h('span', { class: 'dim', id: 'ring-lanes' });
	const lanes = table({ id: 'lanes', caption: 'Lanes that are owned', key: (lane) => `${lane.lane}.${lane.generation}`, empty: 'Nobody owns a lane.', columns: [
		{ name: 'Lane', class: 'number', cell: (lane) => String(lane.lane) },
		{ name: 'Producer', cell: (lane) => h('span', { class: `state ${lane.live ? 'live' : 'dead'}` }, lane.live ? 'live' : 'dead') },
		{ name: 'Process', class: 'number', cell: (lane) => String(lane.pid) },
		{ name: 'Batches', class: 'number', cell: (lane) => format.count(lane.batches) },
		{ name: 'Generation', class: 'number', cell: (lane) => format.exact(lane.generation) },
	] });
	const element = h('div', null, heading('Ring'),
		h('section', { class: 'occupancy', 'aria-label': 'Occupancy' }, used, usedText),
		h('ul', { class: 'cards', 'aria-label': 'Figures' }, cells.map((cell) => cell.card)),
		h('section', { 'aria-labelledby': 'lanes-title' }, h('div', { class: 'heading' }, h('h2', { id: 'lanes-title' }, 'Lanes'), lanesText), lanes.element));
	return { element, every_ms: 2000, async look() {
		const answer = await api.get('ring', null, signal);
		Object.assign(used, { max: answer.cells, high: answer.cells * 0.75, low: answer.cells * 0.5, optimum: 0, value: answer.cells_used });
		setText(usedText, `${format.exact(answer.cells_used)} of ${format.exact(answer.cells)} cells in use (${format.percent(answer.cells_used, answer.cells)})`);
		FIGURES.forEach(([member, , trouble], i) => {
			setText(cells[i].big, member === 'bytes' ? format.bytes(answer.bytes) : format.count(answer[member]));
			cells[i].card.classList.toggle('trouble', trouble && answer[member] > 0);
		});
		const live = answer.lanes.filter((lane) => lane.live).length;
		setText(lanesText, `${live} live, ${answer.lanes.length - live} dead, ${answer.lanes_free} free · ${answer.slots_per_lane} slots of ${answer.slot_bytes} bytes each`);
		lanes.set(answer.lanes);
	} };
}
