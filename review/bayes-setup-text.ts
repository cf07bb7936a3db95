/**
 * bayes-setup-text — what two nodes need for the Bayes sync, as commands and lines that can be pasted, for either side.
 *
 * Pure. Who connects is the caller: the primary, or the backup where only it may connect. What is only known on the other node
 * stands there as a name in capitals.
 */
import type { Config } from '../rules/config.ts';
import { formatNode, type SshNode } from '../rules/node-fields.ts';

/** One piece: what it is for, and the lines of it. */
export type SetupPiece = {
  readonly where: string;
  readonly title: string;
  readonly lines: readonly string[];
};

export type SetupFacts = {
  readonly config: Config;
  /** As people call this machine. */
  readonly host: string;
  /** Of the caller's key; null: there is none, or it is on the other node. */
  readonly publicKey: string | null;
  /** Of this machine's host keys, as `ssh-keygen -l` tells them. */
  readonly fingerprints: readonly string[];
  /** sluice.yaml where it is not where it is looked for anyway. */
  readonly configFile: string | null;
  /** Whether this machine's store is files. */
  readonly storeIsFiles: boolean;
};

/** Whether this node connects (`calls`) or is connected to, and by which door. */
export function sideOf({ role, bayes }: Config): {
  readonly calls: boolean;
  readonly door: 'receive' | 'send';
} {
  if (role === 'primary')
    return bayes.nodes.length > 0 ? { calls: true, door: 'receive' } : { calls: false, door: 'send' };
  return bayes.primary === null ? { calls: false, door: 'receive' } : { calls: true, door: 'send' };
}

/** All pieces, in the order in which they are laid. */
export function setupPieces(facts: SetupFacts): SetupPiece[] {
  const { config } = facts;
  const { calls, door } = sideOf(config);
  const nodes = config.role === 'primary' ? config.bayes.nodes : [config.bayes.primary ?? []].flat();
  if (calls)
    return [
      key(facts),
      ...nodes.flatMap((node) => [pin(facts, node), authorized(facts, formatNode(node), door)]),
      ...sides(facts),
    ];
  return [authorized(facts, 'this node', door), hostKeys(facts), ...sides(facts)];
}

function key({ config, host }: SetupFacts): SetupPiece {
  const { key: file } = config.bayes.ssh;
  return {
    where: 'this node',
    title: 'A key for this alone (sluice bayes setup --keys makes it)',
    lines: [`ssh-keygen -t ed25519 -N '' -C sluice-bayes@${host} -f ${file}`],
  };
}

function pin({ config }: SetupFacts, { host, port }: SshNode): SetupPiece {
  const { knownHosts } = config.bayes.ssh;
  return {
    where: 'this node',
    title: `The host key of ${host}, pinned once: compare its fingerprint with what is printed there`,
    lines: [
      `ssh-keyscan -t ed25519${port === 22 ? '' : ` -p ${port}`} ${host} >> ${knownHosts}`,
      `ssh-keygen -l -f ${knownHosts}`,
      `and on ${host}: ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub`,
    ],
  };
}

function authorized({ publicKey, configFile }: SetupFacts, where: string, door: string): SetupPiece {
  // The other node has a configuration of its own.
  const config = where === 'this node' && configFile !== null ? ` --config ${configFile}` : '';
  const line = `restrict,command="sluice${config} bayes ${door}" ${publicKey ?? 'PUBLIC-KEY-OF-THE-OTHER-NODE'}`;
  return {
    where,
    title: 'One line in /root/.ssh/authorized_keys, and root let in for such commands alone',
    lines: [
      line,
      'in /etc/ssh/sshd_config.d/sluice.conf: PermitRootLogin forced-commands-only',
      'systemctl reload ssh',
    ],
  };
}

function hostKeys({ fingerprints }: SetupFacts): SetupPiece {
  return {
    where: 'this node',
    title: 'Its host keys: what the other node pins must be one of them',
    lines: fingerprints.length > 0 ? fingerprints : ['ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub'],
  };
}

function sides({ config, host, storeIsFiles }: SetupFacts): SetupPiece[] {
  const isPrimary = config.role === 'primary';
  const { nodes, primary } = config.bayes;
  const pull = primary !== null;
  // A primary that is fetched from has nothing to run.
  const isPulled = pull || (isPrimary && nodes.length === 0);
  const known = nodes.map(formatNode).join(', ');
  const primaryLines = [
    'role: primary',
    ...(pull ? [] : [`bayes: { nodes: [${known || 'root@BACKUP'}], sync: { at: "03:15" } }`]),
  ];
  const backupLines = [
    'role: backup',
    pull
      ? `bayes: { primary: ${formatNode(primary)}, sync: { at: "03:15" } }`
      : '# bayes.nodes stands on the primary',
  ];
  const [here, there] = isPrimary ? [primaryLines, backupLines] : [backupLines, primaryLines];
  const other = isPrimary ? 'the backup' : 'the primary';
  const spamassassin = [
    'bayes_auto_learn 0',
    ...(storeIsFiles
      ? ['bayes_path through a link called current: docs/bayes.md, "What each store needs"']
      : []),
  ];
  return [
    { where: `this node (${host})`, title: 'In sluice.yaml', lines: here },
    { where: other, title: 'In sluice.yaml', lines: there },
    { where: isPrimary ? other : 'this node', title: "In SpamAssassin's local.cf", lines: spamassassin },
    {
      where: isPulled ? (isPrimary ? other : 'this node') : 'both nodes',
      title:
        'What runs every night, carries what the backup holds and, on the backup, sees how old the map of recipients is',
      lines: ['systemctl enable --now sluice-bayes'],
    },
  ];
}
