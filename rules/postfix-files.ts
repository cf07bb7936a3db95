/**
 * postfix-files — main.cf and master.cf as data: each parameter and service with the line where it stands.
 *
 * Hides continuation lines, comments between them, `-o name=value` and `-o { name = value }`. Nothing is expanded here.
 * What Postfix itself would stumble over is kept as a problem with its line. Never throws; text in, data out.
 */

/** A file and its text; `file` is what findings name it. */
export type ConfigText = { readonly file: string; readonly text: string };

/** A value where it stands: `file:line`. */
export type Placed = { readonly name: string; readonly value: string; readonly where: string };

/** What Postfix can't read. */
export type FileProblem = { readonly what: string; readonly where: string; readonly remedy: string };

/** main.cf: the last line of a name counts; `replaced` are the earlier ones. */
export type MainFile = {
  readonly file: string;
  readonly parameters: ReadonlyMap<string, Placed>;
  readonly replaced: readonly Placed[];
  readonly problems: readonly FileProblem[];
};

/** One entry of master.cf, columns as they are written (`-`: the default). */
export type MasterService = {
  readonly name: string;
  readonly type: string;
  readonly private: string;
  readonly chroot: string;
  readonly maxproc: string;
  readonly command: string;
  readonly options: ReadonlyMap<string, Placed>;
  readonly where: string;
};

/** master.cf: the last entry of a name and type counts. */
export type MasterFile = {
  readonly file: string;
  readonly services: readonly MasterService[];
  readonly replaced: readonly MasterService[];
  readonly problems: readonly FileProblem[];
};

/** Reads main.cf (postconf(5)). */
export function parseMain({ file, text }: ConfigText): MainFile {
  const parameters = new Map<string, Placed>();
  const replaced: Placed[] = [];
  const problems: FileProblem[] = [];
  for (const { joined, lineAt } of logicalLines(text)) {
    const where = `${file}:${lineAt(0)}`;
    const [, name, value] = /^([^\s=]+)\s*=\s*([\s\S]*?)\s*$/.exec(joined) ?? [];
    if (name === undefined || value === undefined) {
      problems.push({ what: `"${shortened(joined)}" is no setting`, where, remedy: 'write name = value' });
      continue;
    }
    const earlier = parameters.get(name);
    if (earlier !== undefined) replaced.push(earlier);
    parameters.set(name, { name, value: value.replaceAll(/\s+/g, ' '), where });
  }
  return { file, parameters, replaced, problems };
}

/** Reads master.cf (master(5)). */
export function parseMaster({ file, text }: ConfigText): MasterFile {
  const services = new Map<string, MasterService>();
  const replaced: MasterService[] = [];
  const problems: FileProblem[] = [];
  for (const { joined, lineAt } of logicalLines(text)) {
    const words = wordsOf(joined).map((word) => ({ ...word, where: `${file}:${lineAt(word.at)}` }));
    const [name, type, isPrivate, , chroot, , maxproc, command] = words.map((word) => word.text);
    if (command === undefined || name === undefined || type === undefined) {
      const what = `"${shortened(joined)}" has ${words.length} columns, an entry has 8`;
      problems.push({
        what,
        where: `${file}:${lineAt(0)}`,
        remedy: 'write all columns, or begin with a blank',
      });
      continue;
    }
    const options = optionsOf(command, words.slice(8), problems);
    const entry = {
      name,
      type: type === 'fifo' ? 'unix' : type,
      private: isPrivate ?? '-',
      chroot: chroot ?? '-',
    };
    const service = { ...entry, maxproc: maxproc ?? '-', command, options, where: `${file}:${lineAt(0)}` };
    const key = `${name}/${service.type}`;
    const earlier = services.get(key);
    if (earlier !== undefined) replaced.push(earlier);
    services.set(key, service);
  }
  return { file, services: [...services.values()], replaced, problems };
}

type LogicalLine = { readonly joined: string; readonly lineAt: (offset: number) => number };

/** Lines that begin with a blank continue the last one; comments and empty lines between them do not count (master(5)). */
function logicalLines(text: string): LogicalLine[] {
  const found: { text: string; line: number }[][] = [];
  for (const [at, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '');
    if (/^\s*(?:#|$)/.test(line)) continue;
    const current = found.at(-1);
    if (/^\s/.test(line) && current !== undefined) current.push({ text: line, line: at + 1 });
    else found.push([{ text: line, line: at + 1 }]);
  }
  return found.map((pieces) => ({
    joined: pieces.map((piece) => piece.text).join('\n'),
    lineAt: (offset) => {
      let end = 0;
      for (const piece of pieces) {
        end += piece.text.length + 1;
        if (offset < end) return piece.line;
      }
      return pieces.at(-1)?.line ?? 1;
    },
  }));
}

type Word = { readonly text: string; readonly at: number };

/** Words between blanks; `{ … }` is one word without its braces, kept apart by `at` alone. */
function wordsOf(text: string): Word[] {
  const words: Word[] = [];
  for (const match of text.matchAll(/\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}|\S+/g)) {
    const inner = match[1];
    words.push({
      text: inner === undefined ? match[0] : inner.trim().replace(/\s*=\s*/, '='),
      at: match.index,
    });
  }
  return words;
}

type PlacedWord = Word & { readonly where: string };

/** The `-o` options; programs that take no other words would end at a stray one (a comment, most of the time). */
function optionsOf(
  command: string,
  words: readonly PlacedWord[],
  problems: FileProblem[],
): ReadonlyMap<string, Placed> {
  const options = new Map<string, Placed>();
  const found: FileProblem[] = [];
  for (let at = 0; at < words.length; at++) {
    const { text = '', where = '' } = words[at] ?? {};
    const setting = text === '-o' ? words[++at]?.text : /^-o(.+)$/s.exec(text)?.[1];
    if (setting !== undefined) {
      const [, name, equals, value = ''] = /^([^\s=]+)(=?)([\s\S]*)$/.exec(setting) ?? [];
      if (name !== undefined) options.set(name, { name, value, where });
      if (equals !== '=') found.push(withoutValue(setting, where));
    } else if (takesOptionsOnly.test(command) && !text.startsWith('-')) {
      const what = `"${shortened(text)}" stands behind the options of ${command}`;
      found.push({ what, where, remedy: 'master.cf takes no comment behind a setting: take it out' });
    }
  }
  // One mistake leaves many stray words.
  problems.push(...found.slice(0, 1));
  return options;
}

function withoutValue(setting: string, where: string): FileProblem {
  const what = `"-o ${shortened(setting)}" has no value`;
  return { what, where, remedy: 'write -o name=value without blanks, or -o { name = value }' };
}

const takesOptionsOnly = /^(?:smtpd|smtp|lmtp|cleanup|pickup|qmgr)$/;

function shortened(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}
