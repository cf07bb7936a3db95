/**
 * redis-rig — a private Redis for a test, and what its connections say.
 */
import type { TestContext } from 'node:test';
import { type RedisServer, startRedis } from '../../demo/redis.ts';
import { parseConfig, type RedisConfig } from '../../rules/config.ts';
import type { Log } from '../../workers/log.ts';
import { temporaryFolder } from '../folder.ts';

type StartOptions = Parameters<typeof startRedis>[0];

/** A Redis that ends with the test. */
export async function startTestRedis(
  t: TestContext,
  options: Omit<StartOptions, 'folder'> = {},
): Promise<RedisServer & { readonly folder: string }> {
  const folder = temporaryFolder(t);
  const server = await startRedis({ folder, ...options });
  t.after(() => server.stop());
  return { ...server, folder };
}

/** As the configuration would have it; `more` in YAML, for a map. */
export function redisConfigOf(url: string, more = ''): RedisConfig {
  const { config, problems } = parseConfig(
    { file: 'sluice.yaml', text: `redis: { url: "${url}"${more === '' ? '' : `, ${more}`} }` },
    {},
  );
  if (config === null || config.redis === null)
    throw new Error(problems.map(({ message }) => message).join());
  return config.redis;
}

/** A log that keeps everything, as lines. */
export function listeningLog(): { readonly log: Log; readonly lines: readonly string[] } {
  const lines: string[] = [];
  const write = (level: string) => (fields: object, message: string) =>
    void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  return {
    lines,
    log: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
  };
}
