/**
 * bayes-ssh-end — what it means that ssh(1) ended as it did.
 *
 * Hides its exit codes and its English (LC_ALL=C): 255 is its own, all else is of the command at the other end. Pure.
 */
import type { BayesTrouble } from './bayes-step.ts';

export type SshEnd = {
  readonly code: number | null;
  /** The end of what it and the other side wrote on standard error. */
  readonly said: string;
  /** Why it could not be started. */
  readonly cause: Error | null;
  /** Why we ended it. */
  readonly stopped: 'deadline' | 'aborted' | null;
  /** The deadline. */
  readonly seconds: number;
};

type Row = readonly [pattern: RegExp, what: string, remedy: string];

const setup = 'sluice bayes setup shows each piece and checks it';

/** The first one that fits counts. */
const rows: readonly Row[] = [
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED/,
    'its host key is not the one that is pinned',
    'if that machine was set up anew, pin its new key (sluice bayes setup); if not, somebody is in between: find out first',
  ],
  [
    /host key is known for/,
    'its host key is not pinned here',
    'pin it in the file of bayes.ssh.knownHosts: sluice bayes setup shows how',
  ],
  [/Host key verification failed/, 'its host key does not fit the one that is pinned', setup],
  [
    /UNPROTECTED PRIVATE KEY FILE|bad permissions/,
    'others may read our key, so ssh does not use it',
    'chmod 600 the file of bayes.ssh.key',
  ],
  [
    /Load key .*: (?!Permission denied)|incorrect passphrase/,
    'our key can not be used',
    'it must be a private key without a passphrase: make a new one with sluice bayes setup',
  ],
  [
    /Permission denied/,
    'our key is not accepted there',
    'put the line that sluice bayes setup shows into authorized_keys there, and see that its sshd has PermitRootLogin forced-commands-only (or prohibit-password)',
  ],
  [
    /Could not resolve hostname/,
    'its name is unknown',
    'correct the name in sluice.yaml, or see that DNS knows it',
  ],
  [
    /Connection refused/,
    'nothing listens on that port',
    'see that the machine is up and its sshd listens there',
  ],
  [
    /timed out|No route to host|Network is unreachable|Host is down/,
    'it can not be reached',
    'see that the machine is up and no firewall is in between',
  ],
  [
    /no matching|Unable to negotiate|Bad configuration|Protocol major/,
    'the two OpenSSH do not agree',
    'see ssh -v to that machine; bring both to similar versions',
  ],
];

/** The trouble behind an answer that was none or was cut; null where ssh itself had none. */
export function judgeSsh(node: string, end: SshEnd, isSent: boolean): BayesTrouble | null {
  const { code, said, cause, stopped, seconds } = end;
  const under = isSent ? 'answer' : 'send';
  if (stopped === 'deadline')
    return trouble(
      under,
      `Cannot wait longer for ${node}: no whole answer within ${seconds} s`,
      'see what keeps that machine busy; bayes.ssh.deadlineSeconds is the limit, and for the first question connectSeconds and two minutes',
    );
  if (stopped === 'aborted')
    return trouble(under, `Cannot go on with ${node}: this run was ended`, 'run it again');
  if (cause !== null) return trouble('connect', `Cannot run ssh: ${cause.message}`, 'install openssh-client');
  if (code === 255) return judgeConnection(node, said, under);
  if (code === 126 || code === 127) {
    const remedy = `install Sluice there so that root's shell finds it, and see that authorized_keys has the command that sluice bayes setup shows`;
    return trouble(
      'connect',
      `Cannot ask ${node}: there is no sluice, or no forced command (${lastOf(said)})`,
      remedy,
    );
  }
  if (code === 0 || code === null) return null;
  const remedy =
    code === 78 ? 'correct the configuration there: sluice check' : 'look at that machine: sluice check';
  return trouble('answer', `Cannot ask ${node}: sluice ended there with ${code}: ${lastOf(said)}`, remedy);
}

function judgeConnection(node: string, said: string, under: 'send' | 'answer'): BayesTrouble {
  for (const [pattern, what, remedy] of rows)
    if (pattern.test(said)) return trouble('connect', `Cannot connect to ${node}: ${what}`, remedy);
  // ssh(1) ends so, too, where a signal ended the command, and says nothing then.
  const last = lastOf(said);
  const what =
    last === '' ? 'the connection was lost, or sluice was killed there' : `the connection was lost: ${last}`;
  const message = `Cannot go on with ${node}: ${what}`;
  return trouble(
    under,
    message,
    'run it again; if it stays, look at the network and at the log of sshd there',
  );
}

function trouble(step: BayesTrouble['step'], message: string, remedy: string): BayesTrouble {
  return { kind: 'failed', step, message, remedy };
}

/** Its last line; another machine's text. */
function lastOf(said: string): string {
  return said.trim().split('\n').at(-1)?.trim().slice(0, 300) ?? '';
}
