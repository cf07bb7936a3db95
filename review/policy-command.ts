/**
 * policy-command — `sluice policy explain ADDRESS` and `sluice policy check`.
 *
 * Both only read. For `check` the problems are the answer and go to standard output; for every other command they are
 * what keeps it from starting.
 */
import { explain, outboundPolicyFor, policyFor } from '../rules/decide.ts';
import { ConfigurationError } from '../workers/site.ts';
import type { Invocation } from './invocation.ts';
import { UsageError } from './invocation.ts';
import { printable, table } from './table.ts';

/** Prints each effective value for one recipient, or for what one sender sends from the site, and where it was set. */
export async function explainPolicy(invocation: Invocation): Promise<number> {
  const { words, options, columns, print, printJson } = invocation;
  const address = words[0] ?? '';
  if (!address.includes('@'))
    throw new UsageError(`policy explain: "${address}" is no address: write user@domain`);
  const { config, policies } = invocation.site();
  const isOutbound = options.outbound === true;
  const policy = isOutbound ? outboundPolicyFor(address, policies) : policyFor(address, policies);
  const rows = explain(policy, isOutbound ? 'outbound' : 'inbound');
  if (options.json === true) {
    printJson({ [isOutbound ? 'sender' : 'recipient']: address, role: config.role, policy: rows });
    return 0;
  }
  const whose = isOutbound ? `what ${printable(address)} sends` : printable(address);
  print(`Policy for ${whose} (role ${config.role})\n`);
  print(
    table(
      ['field', 'value', 'set by'],
      rows.map(({ field, value, origin }) => [field, shown(value), origin]),
      { columns, wrapsLast: true },
    ),
  );
  return 0;
}

/** Says that both files are good, or names every problem of the first that is not. */
export async function checkPolicies({ options, site, print, printJson }: Invocation): Promise<number> {
  try {
    const { configFile, config } = site();
    if (options.json === true) printJson({ configFile, policies: config.policies, problems: [] });
    else {
      print(printable(`configuration: ${configFile ?? 'embedded defaults'}: ok`));
      print(printable(`policies: ${config.policies ?? 'shipped defaults'}: ok`));
    }
    return 0;
  } catch (cause) {
    if (!(cause instanceof ConfigurationError)) throw cause;
    if (options.json === true) printJson({ configFile: null, policies: null, problems: cause.problems });
    else for (const line of cause.message.split('\n')) print(printable(line));
    return 78;
  }
}

/** A value as policies.yaml would have it; null is "off", an empty list or map "none", maps stand in one line. */
function shown(value: unknown): string {
  if (value === null) return 'off';
  if (typeof value === 'string' && /^\w+$/.test(value)) return value;
  if (typeof value !== 'object') return JSON.stringify(value);
  const entries = Object.entries(value);
  return entries.length === 0
    ? 'none'
    : entries.map(([key, one]) => (one === true ? key : `${key}: ${one}`)).join(', ');
}
