/**
 * postfix-roles — which entry of master.cf plays which part: takes mail from outside, from own users, or back from us.
 *
 * Hides how each is recognised. The three parts of the check share this picture of the site and the words of a remedy.
 */
import { isLoopback, isSameSocket } from './address.ts';
import type { Address, Config } from './config.ts';
import type { Policies } from './policy-for.ts';
import { socketInQueue } from './postfix-address.ts';
import type { MasterService } from './postfix-files.ts';
import { type Fragment, fragmentOf } from './postfix-fragment.ts';
import { type Effective, effective, type PostfixSite, serviceKey } from './postfix-site.ts';
import { endpointOf, isYes } from './postfix-values.ts';

/** All that the check of Postfix's files may look at. */
export type Check = {
  readonly site: PostfixSite;
  readonly config: Config;
  readonly policies: Policies | null;
  /** What `sluice postfix` prints for this configuration; null where it can't. */
  readonly fragment: Fragment | null;
  /** The return smtpd; null where no entry listens at `reinject`. */
  readonly back: MasterService | null;
  readonly entries: readonly Entry[];
};

/** A service that takes mail in, with the content filter that holds for it. */
export type Entry = {
  readonly kind: 'outside' | 'submission' | 'pickup';
  readonly service: MasterService;
  readonly filter: Effective;
};

/** The parts that the services play, for a configuration. */
export function rolesOf(site: PostfixSite, config: Config, policies: Policies | null): Check {
  const back = site.master.services.find((service) => isReturn(service, config.reinject)) ?? null;
  const entries = site.master.services.flatMap((service): Entry[] => {
    const kind = service === back ? null : kindOf(service);
    return kind === null ? [] : [{ kind, service, filter: effective(site, service, 'content_filter') }];
  });
  return { site, config, policies, fragment: fragmentOf(config, null).fragment, back, entries };
}

/** Command that sets an option of a service. */
export function setOption(service: MasterService, name: string, value: string): string {
  return `postconf -P '${serviceKey(service)}/${name}=${value}'`;
}

/** Command that sets a parameter of main.cf. */
export function setMain(name: string, value: string): string {
  return `postconf -e '${name} = ${value}'`;
}

/** The content filter that the fragment names for what comes in, or for what the site itself sends; null: none. */
export function wantedFilter({ fragment }: Check, direction: 'in' | 'out'): string | null {
  const isWanted = ({ service, name }: Fragment['settings'][number]) =>
    name === 'content_filter' && service === (direction === 'in' ? null : 'pickup/unix');
  return fragment?.settings.find(isWanted)?.value || null;
}

/** How an entry is called in a finding. */
export function titleOf({ kind, service }: Entry): string {
  return kind === 'pickup' ? 'pickup' : `smtpd ${service.name}`;
}

function isReturn(service: MasterService, reinject: Address): boolean {
  if (service.command !== 'smtpd') return false;
  if (reinject.kind === 'unix') {
    const socket = socketInQueue(reinject.path);
    const folder = service.private === 'n' ? 'public' : 'private';
    return service.type === 'unix' && socket?.name === service.name && socket.folder === folder;
  }
  const endpoint = service.type === 'inet' ? endpointOf(service.name) : null;
  if (endpoint === null) return false;
  return isSameSocket(reinject, { kind: 'tcp', host: endpoint.host ?? '0.0.0.0', port: endpoint.port });
}

/** Null: takes no mail that a filter should see, as a second way back for some other program. */
function kindOf(service: MasterService): Entry['kind'] | null {
  if (service.command === 'pickup') return 'pickup';
  if (service.command !== 'smtpd') return null;
  const endpoint = service.type === 'inet' ? endpointOf(service.name) : null;
  const isInside =
    endpoint !== null && endpoint.host !== null && isLoopback({ kind: 'tcp', port: 1, host: endpoint.host });
  if (isInside && service.options.get('content_filter')?.value === '') return null;
  const isForUsers = endpoint?.port === 587 || endpoint?.port === 465;
  return isForUsers || isYes(service.options.get('smtpd_sasl_auth_enable')?.value ?? '')
    ? 'submission'
    : 'outside';
}
