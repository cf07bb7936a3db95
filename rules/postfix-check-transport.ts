/**
 * postfix-check-transport — the transport to Sluice: it must hand over what came in, as it came in, and wait for the reply.
 *
 * Hides what each missing option costs, and how many messages may come at once.
 */
import { fail, type Finding, ok, warn } from './finding.ts';
import type { MasterService } from './postfix-files.ts';
import { optionsOf } from './postfix-fragment.ts';
import { type Judge, judged, nonEmpty } from './postfix-judge.ts';
import { dataDoneSeconds } from './postfix-options.ts';
import { type Check, setMain, setOption } from './postfix-roles.ts';
import { effective, maxprocOf, serviceKey } from './postfix-site.ts';
import { isYes, limitOf, secondsOf } from './postfix-values.ts';

/** Parameters of the transport without their `lmtp_` or `smtp_`. */
const transportJudges: Readonly<Record<string, Judge>> = {
  send_xforward_command: {
    level: 'fail',
    bad: (value) => (isYes(value) ? null : 'without queue ids there is no ledger, a retry can deliver twice'),
  },
  data_done_timeout: {
    level: 'fail',
    bad: (value, { config }) => tooShort(value, config.limits.deadlineSeconds),
  },
  line_length_limit: {
    level: 'warn',
    bad: (value) => (value === '0' ? null : 'longer lines are broken up: DKIM signatures break'),
  },
  disable_mime_output_conversion: {
    level: 'warn',
    bad: (value) =>
      isYes(value) ? null : 'where 8BITMIME is not offered, bodies are recoded: DKIM signatures break',
  },
  header_checks: {
    level: 'warn',
    bad: (value) => nonEmpty(value, 'headers change on the way to the filter'),
  },
  body_checks: { level: 'warn', bad: (value) => nonEmpty(value, 'bodies change on the way to the filter') },
  generic_maps: {
    level: 'fail',
    bad: (value) => nonEmpty(value, 'addresses change on the way to the filter'),
  },
  tls_security_level: {
    level: 'fail',
    bad: (value) =>
      /^(?:none|may|dane|)$/.test(value) ? null : 'Sluice speaks no TLS here: nothing gets through',
  },
  fallback_relay: {
    level: 'fail',
    bad: (value) => nonEmpty(value, 'while Sluice is away mail goes round it unscanned'),
  },
};

/** Findings about the settings of one transport to Sluice. */
export function checkTransport(check: Check, transport: MasterService): Finding[] {
  const { command, name } = transport;
  if (command !== 'lmtp' && command !== 'smtp') return [];
  const advice = adviceFor(check, command);
  const found = Object.entries(transportJudges).flatMap(([short, judge]) => {
    const parameter = short.startsWith('disable_') ? short : `${command}_${short}`;
    const remedy = setOption(transport, parameter, advice[parameter] ?? '');
    return judged(check, judge, effective(check.site, transport, parameter), transport, remedy);
  });
  const checks = Object.keys(transportJudges).length;
  const summary = `transport ${name}: ${checks - found.length} of ${checks} settings as they must be`;
  return [...(found.length === 0 ? [ok(summary, transport.where)] : found), ...checkCohort(check, transport)];
}

function adviceFor({ fragment }: Check, command: 'lmtp' | 'smtp'): Readonly<Record<string, string>> {
  const plain: Record<string, string> = {
    disable_mime_output_conversion: 'yes',
    [`${command}_send_xforward_command`]: 'yes',
    [`${command}_data_done_timeout`]: `${dataDoneSeconds}s`,
    [`${command}_line_length_limit`]: '0',
    [`${command}_tls_security_level`]: 'none',
  };
  const service = fragment?.services.find((each) => each.command === command);
  return fragment === null || service === undefined
    ? plain
    : { ...plain, ...optionsOf(fragment, serviceKey(service)) };
}

function tooShort(value: string, deadlineSeconds: number): string | null {
  const seconds = secondsOf(value, 's');
  if (seconds !== null && seconds >= dataDoneSeconds) return null;
  const reply = `Sluice answers within ${dataDoneSeconds - 30} s (limits.deadlineSeconds is ${deadlineSeconds})`;
  return `${reply}: who gives up earlier delivers twice`;
}

/** A refused connection counts as a failed cohort; the default of 1 suspends the filter for minutes. */
function checkCohort({ site }: Check, { name, where }: MasterService): Finding[] {
  const parameter = `${name}_destination_concurrency_failed_cohort_limit`;
  const limit = effective(site, null, parameter);
  if ((limitOf(limit.value) ?? 0) >= 10) return [];
  const what = `${parameter} = ${limit.value}${limit.where === null ? ' (default)' : ''}: a restart of Sluice suspends the filter for minutes`;
  return [warn(what, limit.where ?? where, setMain(parameter, '1000'))];
}

/** Scan transports together ≤ limits.inFlight ≤ return smtpd. */
export function checkConcurrency(
  { site, config, back }: Check,
  transports: readonly MasterService[],
): Finding[] {
  const { inFlight } = config.limits;
  const found: Finding[] = [];
  const counts = transports.map((transport) => maxprocOf(site, transport) ?? Number.POSITIVE_INFINITY);
  const sum = counts.reduce((total, count) => total + count, 0);
  const [first] = transports;
  if (sum > inFlight && first !== undefined) {
    const names = transports.map(({ name }) => name).join(' and ');
    const what = `${names} may hand in ${Number.isFinite(sum) ? sum : 'any number of'} messages at once, limits.inFlight is ${inFlight}: the rest gets 451 and waits`;
    found.push(warn(what, first.where, `write a maxproc of at most ${inFlight} in all`));
  }
  const room = back === null ? null : maxprocOf(site, back);
  if (back !== null && room !== null && room < inFlight) {
    const what = `return smtpd ${back.name} has maxproc ${room}, limits.inFlight is ${inFlight}: hand-offs wait for a connection and are deferred`;
    const build = room < sum ? fail : warn;
    found.push(build(what, back.where, `write a maxproc of ${inFlight + 20}`));
  }
  return found.length > 0 || first === undefined || back === null
    ? found
    : [ok(`maxproc: ${sum} to Sluice <= limits.inFlight ${inFlight} <= ${room ?? 'any'} back`, back.where)];
}
