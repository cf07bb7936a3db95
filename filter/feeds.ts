/**
 * feeds — the listeners of this site's configuration: SMTP, LMTP, and what the site itself sends.
 *
 * They open in turn; where one can't, it throws (PermFail, TempFail) and the process does not start.
 */
import { type Config, formatAddress } from '../rules/config.ts';
import type { Log } from '../workers/log.ts';
import { createListener, type Listener, type ListenerOptions } from './listener.ts';

/** Opens every listener that `listen` names; `shared` is what all of them have in common. */
export async function openFeeds(
  { listen: { smtp, lmtp, outbound, trustedClients }, mode }: Config,
  log: Log,
  shared: Omit<ListenerOptions, 'protocol' | 'direction' | 'address' | 'trustedClients'>,
): Promise<Listener[]> {
  const listeners: Listener[] = [];
  for (const [address, protocol, direction] of [
    [smtp, 'smtp', 'inbound'],
    [lmtp, 'lmtp', 'inbound'],
    [outbound, 'smtp', 'outbound'],
  ] as const) {
    if (address === null) continue;
    const listener = await createListener({ ...shared, address, protocol, direction, trustedClients });
    listeners.push(listener);
    log.info({ protocol, direction, address: formatAddress(listener.address) }, 'Listening');
  }
  if (mode === 'observe')
    log.warn({ mode }, 'Nothing is held: viruses and spam are delivered, marked (mode: observe)');
  return listeners;
}
