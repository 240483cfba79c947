// The faults of cluster-faults.mjs, one after the other, or those with SOCKET2ME_FAULT in their names. The table is Markdown.

import { test } from 'node:test';
import { befall, FAULTS } from './cluster-faults.mjs';
import { MISSING } from './cluster-processes.mjs';

const rows = [];
const wanted = process.env.SOCKET2ME_FAULT ?? '';

for (const [name, fault] of Object.entries(FAULTS)) {
  if (!name.includes(wanted)) continue;
  test(name, { timeout: 240_000, skip: MISSING || fault.skip }, async (t) => {
    await befall(t, (row) => {
      rows.push([name, row]);
      console.log(name, row);
    }, fault);
  });
}

process.on('exit', () => {
  if (rows.length === 0) return;
  const line = (cells) => console.log(`| ${cells.join(' | ')} |`);
  const columns = Object.keys(rows[0][1]);
  line(['fault', ...columns]);
  line(['---', ...columns.map(() => '---')]);
  for (const [name, row] of rows) line([name, ...columns.map((column) => row[column])]);
});
