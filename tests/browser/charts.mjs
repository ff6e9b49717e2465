/*
 * The marks of a chart's scale: each says its value, no two say the same, and none covers another or is cut off,
 * however large the values are and however far apart.
 */
import assert from 'node:assert/strict';
import { check, closeClean, open } from './harness.mjs';

/*
 * Draws rates, counts or durations ('log', in ms) from `least` to `most`, and answers the texts of the scale at the
 * left, as { text, left, y }.
 */
const marksOf = async ([kind, most, least = 0]) => {
	const { chart } = await import('./chart.js');
	const { count, duration, durationMark, rate, rateMark } = await import('./format.js');
	const kinds = { rates: { format: rate, mark: rateMark }, counts: { format: count, whole: true }, log: { format: duration, mark: durationMark, log: true } };
	const texts = [];
	const write = CanvasRenderingContext2D.prototype.fillText;
	CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
		texts.push({ text, left: x - this.measureText(text).width, y });
		return write.call(this, text, x, y);
	};
	const made = chart({ id: 'x', title: 'x', span_s: 60, ...kinds[kind], series: [{ label: 'x', colour: '--c-good' }] });
	document.querySelector('#main').append(made.element);
	made.set([[1e9, 1e9 + 30, 1e9 + 60], [least, (least + most) / 2, most]]);
	await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
	CanvasRenderingContext2D.prototype.fillText = write;
	made.destroy();
	made.element.remove();
	return texts.filter(({ text }) => text !== '' && !/:/.test(text));
};

const UNITS = { ns: 1e-6, 'µs': 1e-3, ms: 1, s: 1000 };
const msOf = (text) => Number(text.replace(/[^\d.]/g, '')) * UNITS[text.split(' ').at(-1)];

await check(async (browser) => {
	const page = await open(browser);
	await page.locator('#taskd-up:not(:empty)').waitFor();
	await page.locator('#pause-live').click();
	for (const [kind, most] of [['rates', 0.04], ['rates', 0.3], ['rates', 0.9], ['rates', 1], ['rates', 2.2], ['rates', 7], ['rates', 900],
		['counts', 1], ['counts', 3], ['counts', 70], ['counts', 12345], ['counts', 3e6]]) {
		const marks = (await page.evaluate(marksOf, [kind, most])).map(({ text }) => text);
		assert.ok(marks.length >= 2, `up to ${most}: ${marks}`);
		assert.equal(new Set(marks).size, marks.length, `up to ${most}: ${marks}`);
		/* They lie as far from each other as they say. */
		const values = marks.map((mark) => Number(mark.replace(/[,/s]/g, '').replace(/K$/, 'e3').replace(/M$/, 'e6')));
		const step = values[1] - values[0];
		values.forEach((value, i) => assert.ok(Math.abs(value - values[0] - i * step) < step * 1e-6, `up to ${most}: ${marks}`));
	}
	/* Durations of less than a microsecond, of hours, and both. */
	for (const [least, most] of [[0.002, 0.5], [0.0002, 0.0008], [3, 4], [40, 3e6], [0.0003, 8e6]]) {
		const marks = await page.evaluate(marksOf, ['log', most, least]);
		const said = `from ${least} to ${most} ms: ${JSON.stringify(marks)}`;
		assert.ok(marks.length >= 2, said);
		const factor = msOf(marks[1].text) / msOf(marks[0].text);
		marks.slice(1).forEach((mark, i) => assert.ok(Math.abs(msOf(mark.text) / msOf(marks[i].text) / factor - 1) < 1e-6, said));
		marks.slice(1).forEach((mark, i) => assert.ok(marks[i].y - mark.y > 14, said));
		assert.ok(marks.every(({ left }) => left >= 0), said);
	}
	await closeClean(page);
});
