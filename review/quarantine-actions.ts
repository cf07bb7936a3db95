/**
 * quarantine-actions — `sluice quarantine release|delete|learn`: the verbs that act, with words and exit codes.
 *
 * What is told of one copy is a line, and the gravest of them the exit code: 75 only where trying again is right.
 */
import type { LearnAs, LearnResult } from '../workers/spamd.ts';
import { type Done, onEach } from './each-item.ts';
import { type Invocation, UsageError } from './invocation.ts';
import { deleteHeld, learn, release, type Released } from './verbs.ts';

/** Gives held messages back to Postfix. */
export async function releaseHeld(invocation: Invocation): Promise<number> {
  const { to = [], recipient: recipients = [], force = false, again = false } = invocation.options;
  if (to.length > 0 && recipients.length > 0)
    throw new UsageError(
      'quarantine release: --to leaves the held copies alone: write it without --recipient',
    );
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  const stray = to.find((address) => !/^[^\u0000-\u0020<>\u007f]+@[^\u0000-\u0020<>@\u007f]+$/.test(address));
  if (stray !== undefined) throw new UsageError(`--to: "${stray}" is no address: write user@domain`);
  const deed = { what: 'release', unit: to.length > 0 ? 'message' : 'copy' } as const;
  return onEach(invocation, deed, invocation.words, async (desk, actor, aim, signal) => {
    const whose = to.length > 0 ? [] : aim.recipients;
    const options = { recipients: whose, to, force, again, signal };
    const released = await release(actor, desk, aim.quarantineId, options);
    return { lines: released, code: exitCodeOf(released) };
  });
}

/** 75 only where trying again is right: what is unconfirmed may have arrived, what was refused will be again. */
function exitCodeOf(released: readonly Released[]): number {
  const some = (kind: Released['kind']) => released.some((one) => one.kind === kind);
  if (some('unconfirmed') || some('refused')) return 1;
  if (some('held')) return 75;
  return some('released') ? 0 : 1;
}

/** Deletes held messages. */
export async function deleteThem(invocation: Invocation): Promise<number> {
  const deed = { what: 'delete', unit: 'copy' } as const;
  return onEach(invocation, deed, invocation.words, async (desk, actor, { quarantineId, recipients }) => {
    const deleted = await deleteHeld(actor, desk, quarantineId, recipients);
    return { lines: deleted, code: deleted.some(({ kind }) => kind === 'deleted') ? 0 : 1 };
  });
}

/** Teaches the spam scanner held messages. */
export async function learnThem(invocation: Invocation): Promise<number> {
  const [as, ...ids] = invocation.words;
  if (as !== 'spam' && as !== 'ham' && as !== 'forget')
    throw new UsageError(`quarantine learn: "${as}" is nothing to learn: write spam, ham or forget`);
  const deed = { what: `learn ${as}`, unit: 'message' } as const;
  return onEach(invocation, deed, ids, async (desk, actor, { quarantineId }, signal) =>
    learned(await learn(actor, desk, quarantineId, as, signal), as),
  );
}

function learned(result: LearnResult, as: LearnAs): Done {
  const { kind } = result;
  switch (kind) {
    case 'learned':
      return { lines: [{ kind, detail: as === 'forget' ? 'forgotten' : `as ${as}` }], code: 0 };
    case 'unchanged':
      return { lines: [{ kind, detail: result.detail }], code: 1 };
    case 'disabled':
      return { lines: [{ kind, detail: result.detail }], code: 69 };
    case 'off':
      return {
        lines: [{ kind, detail: 'there is no spam scanner here: set scan.spam and spamd' }],
        code: 69,
      };
    case 'unchecked':
      return { lines: [{ kind, detail: `${result.reason}: ${result.detail}` }], code: 75 };
  }
}
