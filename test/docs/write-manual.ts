/**
 * write-manual — `npm run manual`: writes docs/sluice.8 and docs/completions/ anew, after a change to the commands.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { manualFiles } from '../../review/manual-files.ts';

const docs = join(import.meta.dirname, '../../docs');
for (const { name, text } of manualFiles()) {
  const file = join(docs, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  console.log(`docs/${name}: ${text.split('\n').length - 1} lines`);
}
