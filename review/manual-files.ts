/**
 * manual-files — the man page and the completions as files of docs/, for packages that put them where they belong.
 */
import { version } from '../workers/version.ts';
import { completionFor } from './completion.ts';
import { manPage } from './man-page.ts';

/** Name under docs/ and text of each. */
export function manualFiles(): readonly { readonly name: string; readonly text: string }[] {
  return [
    { name: 'sluice.8', text: manPage(version) },
    { name: 'completions/sluice.bash', text: completionFor('bash') },
    { name: 'completions/_sluice', text: completionFor('zsh') },
    { name: 'completions/sluice.fish', text: completionFor('fish') },
  ];
}
