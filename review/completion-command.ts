/**
 * completion-command — `sluice completion bash|zsh|fish`: the script that completes command lines in that shell.
 */
import { completionFor, type Shell, shells } from './completion.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { eitherOf } from './manual.ts';

/** Prints the script; it needs no configuration and reads none. */
export async function printCompletion(invocation: Invocation): Promise<number> {
  const { words, options, print, printJson } = invocation;
  const [shell = ''] = words;
  if (!isShell(shell))
    throw new UsageError(`completion: "${shell}" is no shell known here: write ${eitherOf(shells)}`);
  const script = completionFor(shell);
  if (options.json === true) printJson({ shell, script });
  else print(script.trimEnd());
  return 0;
}

function isShell(word: string): word is Shell {
  return shells.some((shell) => shell === word);
}
