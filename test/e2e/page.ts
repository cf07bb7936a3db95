/**
 * page — a page of docs/ as something that can be done: its sections with the blocks to type and what one then sees.
 *
 * A block of `sh` is typed, a block of `text` behind it is what must be among the answer, line by line; `…` in such a line
 * stands for anything.
 */
/** Something to type, and the lines that must be seen then. */
export type Step = { readonly script: string; readonly seen: readonly string[] };

export type Section = { readonly title: string; readonly steps: readonly Step[] };

/** The sections that have something to type. */
export function sectionsOf(markdown: string): Section[] {
  const parts = markdown.split(/^## /m).slice(1);
  return parts
    .map((part) => ({ title: part.slice(0, part.indexOf('\n')), steps: stepsOf(part) }))
    .filter(({ steps }) => steps.length > 0);
}

/** How long a page takes somebody who reads 200 words a minute and types (or pastes) six blocks in one. */
export function minutesOf(markdown: string): { words: number; blocks: number; minutes: number } {
  const words = markdown.split(/\s+/).filter((word) => /\w/.test(word)).length;
  const blocks = markdown.match(/^```sh$/gm)?.length ?? 0;
  return { words, blocks, minutes: Math.ceil(words / 200 + blocks / 6) };
}

/** The first of these lines that an answer does not have, looked for in their order; null where all are there. */
export function missing(answer: string, seen: readonly string[]): string | null {
  let rest = answer.split('\n');
  for (const line of seen) {
    const pattern = new RegExp(`^\\s*${line.trim().split('…').map(escaped).join('.*')}\\s*$`);
    const at = rest.findIndex((one) => pattern.test(one));
    if (at === -1) return line;
    rest = rest.slice(at + 1);
  }
  return null;
}

function stepsOf(part: string): Step[] {
  const steps: { script: string; seen: string[] }[] = [];
  for (const [, kind, text = ''] of part.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
    if (kind === 'sh') steps.push({ script: text, seen: [] });
    else if (kind === 'text')
      steps.at(-1)?.seen.push(...text.split('\n').filter((line) => line.trim() !== ''));
  }
  return steps;
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
