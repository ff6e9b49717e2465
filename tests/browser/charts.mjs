/* The marks of a chart's scale: each says its value, and no two say the same, however large the values are. */
import assert from 'node:assert/strict';
import { check, closeClean, open } from './harness.mjs';

/* Draws rates up to `most`, or counts, and answers the texts of the scale at the left. */
const marksOf = async ([most, whole]) => {
	const { chart } = await import('./chart.js');
	const { count, rate, rateMark } = await import('./format.js');
	const texts = [];
	const write = CanvasRenderingContext2D.prototype.fillText;
	CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) { texts.push(text); return write.call(this, text, ...rest); };
	const made = chart({ id: 'x', title: 'x', span_s: 60, format: whole ? count : rate, ...(whole ? { whole } : { mark: rateMark }), series: [{ label: 'x', colour: '--c-good' }] });
	document.querySelector('#main').append(made.element);
	made.set([[1e9, 1e9 + 30, 1e9 + 60], [0, most / 2, most]]);
	await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
	CanvasRenderingContext2D.prototype.fillText = write;
	made.destroy();
	made.element.remove();
	return texts.filter((text) => !/:/.test(text));
};

await check(async (browser) => {
	const page = await open(browser);
	await page.locator('#taskd-up:not(:empty)').waitFor();
	await page.locator('#pause-live').click();
	for (const [most, whole] of [[0.04, false], [0.3, false], [0.9, false], [1, false], [2.2, false], [7, false], [900, false], [1, true], [3, true], [70, true], [12345, true], [3e6, true]]) {
		const marks = await page.evaluate(marksOf, [most, whole]);
		assert.ok(marks.length >= 2, `up to ${most}: ${marks}`);
		assert.equal(new Set(marks).size, marks.length, `up to ${most}: ${marks}`);
		/* They lie as far from each other as they say. */
		const values = marks.map((mark) => Number(mark.replace(/[,/s]/g, '').replace(/K$/, 'e3').replace(/M$/, 'e6')));
		const step = values[1] - values[0];
		values.forEach((value, i) => assert.ok(Math.abs(value - values[0] - i * step) < step * 1e-6, `up to ${most}: ${marks}`));
	}
	await closeClean(page);
});
