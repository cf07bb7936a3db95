/**
 * bayes-ssh — asks another node by the system's OpenSSH.
 *
 * Hides the process, its options and what it says when it fails.
 */
import type { Config } from '../rules/config.ts';
import type { SshNode } from '../rules/node-fields.ts';
import type { BayesTrouble } from './bayes-step.ts';
import type { Answer, Ask } from './bayes-wire.ts';

/** Never rejects; the payload of its answer may, while it is read. */
export type Call = (ask: Ask) => Promise<Answer | BayesTrouble>;

/** Asks one node; each question is a connection of its own. `signal` ends what runs. */
export function createCall(node: SshNode, ssh: Config['bayes']['ssh'], signal: AbortSignal): Call {
  void [node, ssh, signal];
  return async () => ({
    kind: 'failed',
    step: 'connect',
    message: 'Cannot connect: not built yet',
    remedy: 'wait for it',
  });
}
