/**
 * postfix-fragment — what main.cf and master.cf need for this configuration, as data: each setting with its reason.
 *
 * Hides everything that Postfix wants to be told on both sides of a content filter: the feed, the return smtpd, and the
 * services that exist already. The private Postfix of demo/ and the end-to-end tests runs these very settings. What
 * can't be expressed for a configuration is a problem with its remedy, never a line that half works.
 */
import type { Config } from './config.ts';
import { backupCommands, backupOptions, backupSizeNote, type BackupWishes } from './postfix-backup.ts';
import { addressProblems, filterNetworks, inetName, nexthopOf, socketInQueue } from './postfix-address.ts';
import { feedOptions, type Option, returnOptions } from './postfix-options.ts';

/** One parameter of postconf(5). `service` is `name/type` as in `postconf -P`; null: main.cf. */
export type Setting = {
  readonly file: 'main.cf' | 'master.cf';
  readonly service: string | null;
  readonly name: string;
  readonly value: string;
  readonly why: string;
};

/** One new entry of master.cf (master(5)); never chrooted. `private: 'n'` puts a unix socket into the queue's public/. */
export type Service = {
  readonly name: string;
  readonly type: 'inet' | 'unix';
  readonly private: 'n' | '-';
  readonly maxproc: number;
  readonly command: 'smtpd' | 'smtp' | 'lmtp' | 'cleanup';
  readonly why: string;
  readonly maxprocWhy: string;
};

export type Feed = 'lmtp' | 'smtp';

/** `settings` of a service that `services` does not have belong to one that every Postfix, or some, have already. */
export type Fragment = {
  readonly feed: Feed;
  readonly services: readonly Service[];
  readonly settings: readonly Setting[];
  /** The largest message_size_limit that the outside smtpd may have. */
  readonly messageSizeMax: number;
  /** Whether what the site itself sends has a listener of its own. */
  readonly outbound: boolean;
  /** On a backup MX its own parameters of main.cf, what must be said of message_size_limit, and further lines for the shell; else null. */
  readonly backup: {
    readonly names: readonly string[];
    readonly sizeNote: string;
    readonly commands: readonly string[];
  } | null;
};

/** What header lines of filter, return smtpd and milters may add to a message. */
export const headroomBytes = 102_400;
/** Services that take what the site's own users and programs send. */
export const submissionServices = ['submission/inet', 'submissions/inet', 'smtps/inet', 'pickup/unix'];
/** Services that take mail from outside: the usual one, and the one behind postscreen(8). */
export const outsideServices = ['smtp/inet', 'smtpd/pass'];

const scanProcessesMax = 20;
const outboundProcessesMax = 10;
/** For releases out of the quarantine and connections that are just ending. */
const returnProcessesSpare = 20;

/**
 * The settings for this configuration; `feed` null: LMTP where there is such a listener, else SMTP. `backup`: with those of a
 * backup MX.
 */
export function fragmentOf(
  config: Config,
  feed: Feed | null,
  backup: BackupWishes | null = null,
): { fragment: Fragment | null; problems: readonly string[] } {
  const chosen = feed ?? (config.listen.lmtp === null && config.listen.smtp !== null ? 'smtp' : 'lmtp');
  const problems = [...addressProblems(config, chosen), ...capacityProblems(config)];
  if (problems.length > 0) return { fragment: null, problems };
  const back = returnService(config);
  const feeds = feedsOf(config, chosen);
  const ofBackup = backup === null ? [] : backupOptions(config, backup);
  const settings = [
    ...inMain(mainOptions(feeds)),
    ...inMain(ofBackup),
    ...feeds.flatMap(({ service }) =>
      inService(service, feedOptions(service.command === 'lmtp' ? 'lmtp' : 'smtp')),
    ),
    ...returnSettings(config),
    ...inService(cleanupService, [
      ['message_size_limit', String(returnBytes(config)), 'the same room: cleanup(8) enforces it as well'],
    ]),
    ...existingOptions(feeds),
  ];
  const fragment = {
    feed: chosen,
    services: [...feeds.map(({ service }) => service), back, cleanupService],
    settings,
    messageSizeMax: messageSizeMaxOf(config),
    outbound: feeds.length > 1,
    backup:
      backup === null
        ? null
        : {
            names: ofBackup.map(([name]) => name),
            sizeNote: backupSizeNote,
            commands: backupCommands(config),
          },
  };
  return { fragment, problems };
}

/** Settings of services that every Postfix, or some, have already. */
export function existingSettings({ services, settings }: Fragment): readonly Setting[] {
  const created = new Set(services.map(({ name, type }) => `${name}/${type}`));
  return settings.filter(({ service }) => service !== null && !created.has(service));
}

/** Options of one service of a fragment, name to value; `service` is `name/type`. */
export function optionsOf(fragment: Fragment, service: string): Readonly<Record<string, string>> {
  const own = fragment.settings.filter((setting) => setting.service === service);
  return Object.fromEntries(own.map(({ name, value }) => [name, value]));
}

/** The return smtpd's entry and options, also where the rest of the fragment has problems. */
export function returnSettings(config: Config): readonly Setting[] {
  const values = {
    networks: filterNetworks(config),
    messageBytes: returnBytes(config),
    cleanup: cleanupService.name,
  };
  return inService(returnService(config), returnOptions(values));
}

/**
 * The largest message that Postfix may take from outside, so that what it hands to Sluice is never over
 * limits.messageBytes: Received lines come on top, and Postfix announces long lines larger than they are (up to 0.8 %).
 */
export function messageSizeMaxOf({ limits: { messageBytes } }: Config): number {
  return Math.max(1, messageBytes - Math.max(headroomBytes, Math.ceil(messageBytes / 100)));
}

function capacityProblems({ listen, limits: { inFlight } }: Config): string[] {
  const isShared = listen.outbound !== null && inFlight < 2;
  return isShared ? ['limits.inFlight is 1, which two feeds can not share: write 2 or more'] : [];
}

type FeedService = { readonly service: Service; readonly nexthop: string };

/** The transport for what comes in; then, where there is such a listener, the one for what the site itself sends. */
function feedsOf({ listen, limits: { inFlight } }: Config, feed: Feed): FeedService[] {
  const address = listen[feed];
  if (address === null) return [];
  const { outbound } = listen;
  const outMaxproc =
    outbound === null ? 0 : Math.max(1, Math.min(outboundProcessesMax, Math.floor(inFlight / 3)));
  const maxproc = Math.max(1, Math.min(scanProcessesMax, inFlight - outMaxproc));
  const words = feed === 'lmtp' ? ', over LMTP: one reply per recipient' : ', over SMTP: one reply for all';
  const inbound = { nexthop: nexthopOf(address), service: feedService('scan', feed, maxproc, words) };
  if (outbound === null) return [inbound];
  const service = feedService('scan-out', 'smtp', outMaxproc, ': what the site itself sends');
  return [inbound, { nexthop: nexthopOf(outbound), service }];
}

function feedService(name: string, command: Feed, maxproc: number, what: string): Service {
  const maxprocWhy = 'messages at once; all feeds together at most limits.inFlight';
  return { name, type: 'unix', private: '-', maxproc, command, why: `To Sluice${what}.`, maxprocWhy };
}

function returnService({ reinject, limits: { inFlight } }: Config): Service {
  const unix = reinject.kind === 'unix' ? socketInQueue(reinject.path) : null;
  return {
    name: reinject.kind === 'tcp' ? inetName(reinject) : (unix?.name ?? reinject.path),
    type: reinject.kind === 'tcp' ? 'inet' : 'unix',
    private: reinject.kind === 'tcp' || unix?.folder === 'public' ? 'n' : '-',
    maxproc: inFlight + returnProcessesSpare,
    command: 'smtpd',
    why: 'Back from Sluice. It must not filter, rewrite or refuse a second time.',
    maxprocWhy: 'more than limits.inFlight, or Sluice waits for a connection',
  };
}

const cleanupService: Service = {
  name: 'return-cleanup',
  type: 'unix',
  private: 'n',
  maxproc: 0,
  command: 'cleanup',
  why: 'Queues what comes back. A cleanup of its own, so that your message_size_limit can stay as it is.',
  maxprocWhy: 'no limit, as for cleanup itself',
};

function mainOptions(feeds: readonly FeedService[]): Option[] {
  const [inbound] = feeds;
  const filter = inbound === undefined ? '' : filterOf(inbound);
  return [
    ['content_filter', filter, 'Every message that comes in goes to Sluice first.'],
    ...feeds.map(({ service }): Option => {
      const why = 'A connection that is refused must not suspend the filter for minutes while it restarts.';
      return [`${service.name}_destination_concurrency_failed_cohort_limit`, '1000', why];
    }),
  ];
}

function existingOptions([inbound, outbound]: readonly FeedService[]): Setting[] {
  if (inbound === undefined) return [];
  const filter = outbound === undefined ? '' : filterOf(outbound);
  const what = 'What your own users and programs send';
  const why =
    filter === '' ? `${what} is not filtered: listen.outbound is null.` : `${what}: the outbound policy.`;
  // pickup(8) writes its own filter over that of a requeued message.
  const requeued = `The same for local programs. Mail that postsuper -r requeues goes this way too${filter === '' ? ', unscanned' : ''}.`;
  const filtered = filter === '' ? outsideServices : [...outsideServices, ...submissionServices];
  const once = 'Aliases expand once, behind the filter.';
  return [
    ...submissionServices.flatMap((service) =>
      inExisting(service, [['content_filter', filter, service === 'pickup/unix' ? requeued : why]]),
    ),
    ...filtered.flatMap((service) =>
      inExisting(service, [['receive_override_options', 'no_address_mappings', once]]),
    ),
  ];
}

function filterOf({ service, nexthop }: FeedService): string {
  return `${service.name}:${nexthop}`;
}

function returnBytes({ limits: { messageBytes } }: Config): number {
  return messageBytes + headroomBytes;
}

function inMain(options: readonly Option[]): Setting[] {
  return options.map(([name, value, why]) => ({ file: 'main.cf', service: null, name, value, why }));
}

function inService(
  { name, type }: { readonly name: string; readonly type: string },
  options: readonly Option[],
): Setting[] {
  return inExisting(`${name}/${type}`, options);
}

function inExisting(service: string, options: readonly Option[]): Setting[] {
  return options.map(([name, value, why]) => ({ file: 'master.cf', service, name, value, why }));
}
