/**
 * policy-command — `sluice policy explain RCPT` and `sluice policy check`.
 *
 * Both only read. Problems of the files never get here: reading the site has refused them with every line named.
 */
import { explain, policyFor } from '../rules/decide.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { table } from './table.ts';

/** Prints each effective value for one recipient and where it was set. */
export async function explainPolicy({ words, options, site, print }: Invocation): Promise<number> {
  const recipient = words[0] ?? '';
  if (!recipient.includes('@'))
    throw new UsageError(`policy explain: "${recipient}" is no address: write user@domain`);
  const rows = explain(policyFor(recipient, site.policies));
  if (options.json === true) {
    print(JSON.stringify({ recipient, role: site.config.role, policy: rows }));
    return 0;
  }
  print(`Policy for ${recipient} (role ${site.config.role})\n`);
  print(
    table(
      ['field', 'value', 'set by'],
      rows.map(({ field, value, origin }) => [field, shown(value), origin]),
    ),
  );
  return 0;
}

/** Says that both files are good: a problem would have ended the command before. */
export async function checkPolicies({ options, site, print }: Invocation): Promise<number> {
  const { configFile, config } = site;
  if (options.json === true) print(JSON.stringify({ configFile, policies: config.policies, problems: [] }));
  else {
    print(`configuration: ${configFile ?? 'embedded defaults'}: ok`);
    print(`policies: ${config.policies ?? 'shipped defaults'}: ok`);
  }
  return 0;
}

/** A value as policies.yaml would have it: null is "off", maps in one line. */
function shown(value: unknown): string {
  if (value === null) return 'off';
  if (typeof value !== 'object') return JSON.stringify(value);
  const entries = Object.entries(value);
  return entries.length === 0
    ? 'none'
    : entries.map(([key, one]) => (one === true ? key : `${key}: ${one}`)).join(', ');
}
