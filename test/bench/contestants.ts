/**
 * contestants — who can be measured: Sluice in its forms, the peers, and the scanners without a filter.
 *
 * Each is started once and kept, so that runs can be interleaved. Before it counts, each is shown a virus and spam, and
 * the scanners' logs must tell of them: a filter that does not scan would be fast.
 */
import type { Target } from './load.ts';
import { startAmavis, startClamsmtp } from './peers.ts';
import { prove } from './proof.ts';
import type { Rig } from './rig.ts';
import { type SluiceOptions, startSluice } from './sluice.ts';

/** Stalls in milliseconds: how much later than asked for an event loop came round (loop-delay.js). */
export type LoopDelay = { readonly p50: number; readonly p99: number; readonly max: number };

/** One that takes load. `pid` is null where the scanners themselves are asked. */
export type Contestant = {
  readonly name: string;
  readonly target: Target;
  readonly pid: number | null;
  readonly logFile: string | null;
  /** Stalls of its event loop since the last call. */
  loopDelay?(): Promise<LoopDelay>;
  stop(): Promise<void>;
};

const makers = {
  sluice: (rig: Rig) => startSluice(rig, sluiceOptions('sluice', {})),
  'sluice-virus': (rig: Rig) => startSluice(rig, sluiceOptions('sluice-virus', { spam: false })),
  'sluice-slow-fsync': (rig: Rig) =>
    startSluice(rig, sluiceOptions('sluice-slow-fsync', { slowFsync: true })),
  'sluice-virus-slow-fsync': (rig: Rig) =>
    startSluice(rig, sluiceOptions('sluice-virus-slow-fsync', { spam: false, slowFsync: true })),
  'sluice-disk-spool': (rig: Rig) =>
    startSluice(rig, sluiceOptions('sluice-disk-spool', { diskSpool: true })),
  amavis: startAmavis,
  clamsmtp: startClamsmtp,
  spamd: async (rig: Rig) => bare('spamd', { spamd: rig.spamd.unix.path, clamd: null }),
  clamd: async (rig: Rig) => bare('clamd', { spamd: null, clamd: rig.clamd.unix.path }),
  scanners: async (rig: Rig) => bare('scanners', { spamd: rig.spamd.unix.path, clamd: rig.clamd.unix.path }),
} as const satisfies Record<string, (rig: Rig) => Promise<Contestant>>;

export type ContestantName = keyof typeof makers;

/** How each is called in print. */
export const titles: Readonly<Record<ContestantName, string>> = {
  sluice: 'Sluice',
  'sluice-virus': 'Sluice, virus only',
  'sluice-slow-fsync': 'Sluice, fsync + 20 ms',
  'sluice-virus-slow-fsync': 'Sluice, virus only, fsync + 20 ms',
  'sluice-disk-spool': 'Sluice, spool on disk',
  amavis: 'amavisd-new',
  clamsmtp: 'clamsmtpd',
  spamd: 'bare spamd',
  clamd: 'bare clamd',
  scanners: 'bare clamd and spamd, side by side',
};

/** Contestants of one rig, each started when it is first asked for. */
export class Field {
  readonly #rig: Rig;
  readonly #started = new Map<ContestantName, Promise<Contestant>>();

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  get(name: ContestantName): Promise<Contestant> {
    const known = this.#started.get(name) ?? this.#start(name);
    this.#started.set(name, known);
    return known;
  }

  async #start(name: ContestantName): Promise<Contestant> {
    const contestant = await makers[name](this.#rig);
    await prove(this.#rig, name, contestant);
    return contestant;
  }

  async stop(): Promise<void> {
    for (const one of this.#started.values()) await (await one).stop();
  }
}

function sluiceOptions(name: string, changes: Partial<SluiceOptions>): SluiceOptions {
  const nodeOptions = (process.env.BENCH_NODE_OPTIONS ?? '').split(' ').filter(Boolean);
  return { name, spam: true, slowFsync: false, diskSpool: false, nodeOptions, ...changes };
}

function bare(name: string, paths: { spamd: string | null; clamd: string | null }): Contestant {
  return {
    name,
    target: { kind: 'scanners', ...paths },
    pid: null,
    logFile: null,
    stop: async () => undefined,
  };
}
