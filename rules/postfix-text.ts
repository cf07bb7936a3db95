/**
 * postfix-text — a fragment as text to paste: a block for master.cf, one for main.cf, and commands for what is there already.
 *
 * Hides the forms of both files. The blocks are pasted in this order, with a reload behind the first: main.cf counts for each
 * process that starts, and a transport that master(8) does not know yet would have its mail deferred. A reason stands in the comment before its entry, never inside or behind a setting:
 * master.cf takes the rest of a line for arguments. Services that exist already are changed with postconf(1), because
 * a second entry of the same name would replace the first.
 */
import { existingSettings, type Fragment, type Service, type Setting } from './postfix-fragment.ts';
import { formatRemoval, type RemovalText } from './postfix-removal.ts';

/** The three blocks, each ending in a newline, and what undoes them. */
export type FragmentText = RemovalText & {
  readonly main: string;
  readonly master: string;
  readonly commands: string;
};

const reasonColumn = 40;

/** Both files' additions and the commands; a command for a service that is not there changes nothing. */
export function formatFragment(fragment: Fragment): FragmentText {
  const [main, master, commands] = [mainBlock(fragment), masterBlock(fragment), commandBlock(fragment)];
  return { main, master, commands, ...formatRemoval(fragment) };
}

function mainBlock({ settings, messageSizeMax, backup }: Fragment): string {
  const own = settings.filter(({ file }) => file === 'main.cf');
  return lines([
    '# Only after master.cf and a "postfix reload": what is to go a way that Postfix does not know yet is deferred.',
    ...withReasons(own, ({ name, value }) => `${name} = ${value}`),
    ...(backup === null
      ? [
          `# message_size_limit: keep yours, up to ${messageSizeMax}. Sluice takes limits.messageBytes, and Postfix adds header lines.`,
        ]
      : [
          `# ${backup.sizeNote}`,
          `# No more than ${messageSizeMax}: Sluice takes limits.messageBytes, and Postfix adds header lines.`,
        ]),
  ]);
}

function masterBlock({ services, settings }: Fragment): string {
  const entries = services.map((service) => {
    const own = settings.filter((setting) => setting.service === `${service.name}/${service.type}`);
    return lines([`# ${service.why}`, ...reasons(service, own), head(service), ...own.map(option)]);
  });
  return entries.join('\n');
}

function commandBlock(fragment: Fragment): string {
  const existing = existingSettings(fragment);
  return lines([
    '# For services that you have already; postconf says "unmatched" of the others and leaves them alone.',
    ...withReasons(existing, ({ service, name, value }) => `postconf -P '${service}/${name}=${value}'`),
    ...(fragment.backup?.commands ?? []),
    '# Soon after main.cf: whatever starts anew follows it already, these options count from here on.',
    'postfix check && postfix reload',
  ]);
}

/** Each line under its reason; a reason that holds for several lines stands once. */
function withReasons(settings: readonly Setting[], form: (setting: Setting) => string): string[] {
  return settings.flatMap((setting, at) =>
    settings[at - 1]?.why === setting.why ? [form(setting)] : [`# ${setting.why}`, form(setting)],
  );
}

function reasons({ maxproc, maxprocWhy }: Service, own: readonly Setting[]): string[] {
  const row = (name: string, why: string): string => `#   ${name.padEnd(reasonColumn)}${why}`;
  return [row(`maxproc ${maxproc}`, maxprocWhy), ...own.map(({ name, why }) => row(name, why))];
}

/** The eight columns of master(5); never chrooted, so that absolute paths are what they say. */
function head({ name, type, private: isPrivate, maxproc, command }: Service): string {
  const columns = [name.padEnd(15), type.padEnd(5), isPrivate, '-', 'n', '-', String(maxproc)];
  return `${columns.map((column, at) => (at < 2 ? column : column.padEnd(7))).join(' ')} ${command}`;
}

function option({ name, value }: Setting): string {
  return `    -o ${name}=${value}`;
}

function lines(each: readonly string[]): string {
  return `${each.join('\n')}\n`;
}
