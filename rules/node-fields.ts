/**
 * node-fields — how sluice.yaml writes what the nightly run to the backup node needs: another node, a time of day, a zone.
 *
 * Hides the spellings. Whatever a node's name may hold can be an argument of ssh(1) and nothing else: no option, no blank.
 */
import { scalarField } from './fields.ts';
import type { Reader } from './fields.ts';

/** A machine as ssh(1) reaches it. */
export type SshNode = { readonly host: string; readonly user: string; readonly port: number };

/** `host`, `user@host`, `host:port`, `[v6]:port`; without them it is root on port 22. */
export const nodeField: Reader<SshNode> = scalarField(
  'host, user@host or user@host:port, like root@mx2.example.com',
  (value) => {
    const match =
      /^(?:([a-z_][\w.-]{0,31})@)?(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9][a-z0-9.-]{0,252}))(?::(\d{1,5}))?$/i.exec(
        String(value),
      );
    if (match === null || typeof value === 'boolean') return undefined;
    const [, user = 'root', v6, name = '', digits = '22'] = match;
    const port = Number(digits);
    return port >= 1 && port <= 65_535 ? { host: v6 ?? name, user, port } : undefined;
  },
);

/** How a node is called where people read it: as it may be written in sluice.yaml. */
export function formatNode({ host, user, port }: SshNode): string {
  const where = host.includes(':') ? `[${host}]` : host;
  return `${user}@${where}${port === 22 ? '' : `:${port}`}`;
}

/** `HH:MM`, in quotation marks: YAML 1.1 takes 03:15 for a number of seconds. */
export const timeOfDayField: Reader<string> = scalarField('a time of day like "03:15"', (value) =>
  typeof value === 'string' && /^([01]\d|2[0-3]):[0-5]\d$/.test(value) ? value : undefined,
);

/** A name that Intl knows (the tz database). */
export const zoneField: Reader<string> = scalarField('a time zone like Europe/Berlin', (value) =>
  typeof value === 'string' && isZone(value) ? value : undefined,
);

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    // RangeError: it knows no such zone.
    return false;
  }
}
