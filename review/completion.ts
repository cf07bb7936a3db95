/**
 * completion — the script that lets a shell complete command lines, for each shell there is one for.
 *
 * The scripts know the commands by heart, so that a press of TAB costs no start of Node. Only ids of held messages are
 * asked for, at most two seconds long; who may not list them gets none, and no word of complaint.
 */
import { bashScript } from './completion-bash.ts';
import { fishScript } from './completion-fish.ts';
import { zshScript } from './completion-zsh.ts';

export const shells = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof shells)[number];

/** The script for a shell, as it is written into a file or sourced. */
export function completionFor(shell: Shell): string {
  switch (shell) {
    case 'bash':
      return bashScript();
    case 'zsh':
      return zshScript();
    case 'fish':
      return fishScript();
  }
}
