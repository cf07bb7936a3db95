/**
 * redis — a private Redis for tests: Debian's redis-server on a free port of 127.0.0.1, with nothing on disk but its log.
 *
 * Hides how it is asked and how it comes back: `restart` is a new, empty one on the same port, whatever became of the one
 * before. Rejects where it does not answer, with the end of its log.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Daemon, freePort, startDaemon } from './daemon.ts';

export type RedisServer = {
  readonly port: number;
  /** With the password, if there is one. */
  readonly url: string;
  pid(): number;
  kill(signal: NodeJS.Signals): void;
  /** Runs one command by redis-cli as the default user; rejects where Redis answers with an error. */
  ask(...words: readonly string[]): Promise<string>;
  /** Ends it, whatever state it is in; `restart` brings a new one. */
  stop(): Promise<void>;
  /** A new process, empty, with the same settings. */
  restart(): Promise<void>;
};

const execute = promisify(execFile);

/** Starts it; `settings` are lines of redis.conf, `tls` the files of a certificate: then only TLS is spoken. */
export async function startRedis(options: {
  readonly folder: string;
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly bind?: string;
  readonly password?: string;
  readonly settings?: readonly string[];
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
}): Promise<RedisServer> {
  const { folder, password, tls, bind = '127.0.0.1' } = options;
  const port = options.port ?? (await freePort());
  const address = [
    '-h',
    bind,
    '-p',
    String(port),
    ...(tls === undefined ? [] : ['--tls', '--cacert', tls.ca]),
  ];
  const ask = async (...words: readonly string[]): Promise<string> => {
    const env = { ...process.env, ...(password === undefined ? {} : { REDISCLI_AUTH: password }) };
    const { stdout } = await execute('redis-cli', [...address, '-e', '--raw', ...words], {
      env,
      timeout: 10_000,
    });
    return stdout.trimEnd();
  };
  const start = (): Promise<Daemon> =>
    startDaemon({
      command: 'redis-server',
      args: argumentsOf({ ...options, bind, port }),
      logFile: join(folder, 'redis.log'),
      isUp: () =>
        ask('PING').then(
          (answer) => answer === 'PONG',
          () => false,
        ),
    });
  let daemon = await start();
  const credentials = password === undefined ? '' : `:${encodeURIComponent(password)}@`;
  return {
    port,
    url: `${tls === undefined ? 'redis' : 'rediss'}://${credentials}${bind}:${port}/0`,
    pid: () => daemon.pid,
    kill: (signal) => daemon.kill(signal),
    ask,
    stop: () => daemon.stop(),
    async restart() {
      daemon.kill('SIGKILL');
      await daemon.stop();
      daemon = await start();
    },
  };
}

function argumentsOf(options: {
  readonly folder: string;
  readonly port: number;
  readonly bind: string;
  readonly password?: string;
  readonly settings?: readonly string[];
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
}): string[] {
  const { folder, port, bind, password, settings = [], tls } = options;
  const ports =
    tls === undefined
      ? [`port ${port}`]
      : [
          'port 0',
          `tls-port ${port}`,
          `tls-cert-file ${tls.cert}`,
          `tls-key-file ${tls.key}`,
          `tls-ca-cert-file ${tls.ca}`,
          'tls-auth-clients no',
        ];
  const usual = [`bind ${bind}`, ...ports, `dir ${folder}`, 'appendonly no', 'enable-debug-command yes'];
  const all = [...usual, ...(password === undefined ? [] : [`requirepass ${password}`]), ...settings];
  // Each setting is one option with its words; `save ""` turns dumps off.
  return ['--save', '', ...all.flatMap((line) => line.replace(/^/, '--').split(' '))];
}
