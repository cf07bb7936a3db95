/**
 * postmap — makes Postfix's lookup table out of its source (postmap(1)), in the type that Postfix takes by itself; and what else
 * postconf(1) is asked.
 *
 * Hides postconf(1). postmap works as the owner of the source, and leaves its table beside it. MAIL_CONFIG names another
 * configuration than the machine's, as for every command of Postfix.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const timeoutMs = 60_000;

/** Resolves with null once the table is made; else with why not: no Postfix here, or what postmap said. */
export async function postmap(source: string): Promise<null | 'unavailable' | { readonly problem: string }> {
  try {
    await run('postmap', `${await typeHere()}:${source}`);
    return null;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return 'unavailable';
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : String(cause);
    return { problem: said.split('\n').at(-1) ?? '' };
  }
}

const endsOfTypes: Readonly<Record<string, string>> = {
  hash: '.db',
  btree: '.db',
  lmdb: '.lmdb',
  cdb: '.cdb',
};

/** What a table that Postfix asks now has behind the name of its source; null where that can't be told. */
export async function tableEnd(): Promise<string | null> {
  const type = await typeHere().catch(() => null);
  return type === null ? null : (endsOfTypes[type] ?? null);
}

/**
 * Domains whose mail Postfix delivers here, in lower case: of mydestination and of the virtual domains, tables of theirs included
 * where postmap can list them. None where there is no Postfix.
 */
export async function domainsHere(): Promise<string[]> {
  const words = await run('postconf', '-xh', ...localDomains).then(wordsOf, () => []);
  const found = await Promise.all(
    words.map(async (word) => (word.includes(':') ? domainKeysOf(word) : [word])),
  );
  const domains = new Set(found.flat().map((domain) => domain.toLowerCase()));
  // What has another form, a file with patterns or an address literal, is no key of a table.
  return [...domains].filter((domain) => /^[\w-]+(?:\.[\w-]+)*$/.test(domain)).toSorted();
}

/** Octets that a message may have here; 0: as many as it likes (postconf(5)); null where there is no Postfix. */
export async function messageSizeLimit(): Promise<number | null> {
  const said = await run('postconf', '-xh', 'message_size_limit').catch(() => '');
  return /^\d{1,15}\s*$/.test(said) ? Number(said) : null;
}

const localDomains = ['mydestination', 'virtual_alias_domains', 'virtual_mailbox_domains'];

/** The keys that are no addresses: a table of aliases has both (virtual(5)). */
async function domainKeysOf(table: string): Promise<string[]> {
  const listed = await run('postmap', '-s', table).catch(() => '');
  return listed.split('\n').map((line) => line.replace(/\t.*/, ''));
}

function wordsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

async function typeHere(): Promise<string> {
  return (await run('postconf', '-h', 'default_database_type')).trim();
}

async function run(command: string, ...words: readonly string[]): Promise<string> {
  const mailConfig = process.env.MAIL_CONFIG;
  const env = {
    PATH: '/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin',
    LC_ALL: 'C',
    ...(mailConfig === undefined ? {} : { MAIL_CONFIG: mailConfig }),
  };
  return (await promisify(execFile)(command, words, { env, cwd: '/', timeout: timeoutMs })).stdout;
}
