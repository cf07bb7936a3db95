/**
 * check-listeners — whether each address that Sluice listens on is free, or held by a Sluice that runs already.
 *
 * Binds a free one for a moment. Never throws: what could not be found out is a finding.
 */
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname } from 'node:path';
import { type Address, formatAddress } from '../rules/address.ts';
import type { Config } from '../rules/config.ts';
import { type Finding, fail, ok, warn } from '../rules/finding.ts';
import { type LocalProcess, processListeningOn } from '../workers/local-process.ts';

/** Who is found on an address: nobody, our own filter, somebody else, or why it can't be bound. */
export type Tenant =
  | { readonly kind: 'free' | 'sluice' }
  | { readonly kind: 'other'; readonly greeting: string; readonly process: LocalProcess | null }
  | { readonly kind: 'unusable'; readonly code: string };

const greetingTimeoutMs = 5_000;

/** The addresses on which this configuration takes mail. */
export function feedAddresses({ listen }: Pick<Config, 'listen'>): Address[] {
  return [listen.smtp, listen.lmtp, listen.outbound].filter((address) => address !== null);
}

/** One finding for each address on which this configuration takes mail, and one for its health server. */
export async function checkListeners(config: Pick<Config, 'listen' | 'health'>): Promise<Finding[]> {
  const addresses = feedAddresses(config);
  const tenants = await Promise.all(addresses.map(tenantOf));
  const findings = [
    ...addresses.map((address, at) => judge(address, tenants[at] ?? { kind: 'free' })),
    ...(config.health.filter === null ? [] : [await judgeHealth(config.health.filter)]),
  ];
  const kinds = new Set(tenants.map(({ kind }) => kind));
  if (!kinds.has('sluice') || !kinds.has('free')) return findings;
  const what = 'Sluice runs, but not on every address of this configuration';
  return [...findings, warn(what, null, 'restart Sluice: it was started with another configuration')];
}

/** Who holds an address now. */
export async function tenantOf(address: Address): Promise<Tenant> {
  const greeting = await greetingOf(address);
  if (greeting !== null && / Sluice\r?\n$/.test(greeting)) return { kind: 'sluice' };
  if (greeting !== null)
    return { kind: 'other', greeting: greeting.trim(), process: processListeningOn(address) };
  const code = await bindProblem(address);
  return code === null ? { kind: 'free' } : { kind: 'unusable', code };
}

function judge(address: Address, tenant: Tenant): Finding {
  const where = formatAddress(address);
  switch (tenant.kind) {
    case 'free':
      return ok('Free to listen on (Sluice does not run)', where);
    case 'sluice':
      return ok('Sluice listens', where);
    case 'other': {
      const { process, greeting } = tenant;
      const who =
        process === null ? 'another process' : `${process.argv.join(' ').slice(0, 60)} (pid ${process.pid})`;
      const says = greeting === '' ? '' : `, which says "${greeting.slice(0, 60)}"`;
      return fail(
        `Taken by ${who}${says}`,
        where,
        'stop that, or write another address under listen in sluice.yaml',
      );
    }
    case 'unusable':
      return fail(`Can not be listened on: ${tenant.code}`, where, remedyFor(tenant.code, address));
  }
}

/** It says nothing by itself, so its process must tell; mail flows without it. */
async function judgeHealth(address: Address): Promise<Finding> {
  const where = formatAddress(address);
  const code = await bindProblem(address);
  if (code === null) return ok('Free for the health server (it does not run)', where);
  const process = processListeningOn(address);
  if (process?.argv.some((word) => word.includes('sluice')) === true)
    return ok('Sluice answers for its health', where);
  const who = process === null ? code : `${process.argv.join(' ').slice(0, 60)} (pid ${process.pid})`;
  const remedy = 'write another address, or null, under health.filter in sluice.yaml';
  return warn(`No health server can listen there: ${who}`, where, remedy);
}

function remedyFor(code: string, address: Address): string {
  if (code === 'EADDRNOTAVAIL') return 'write an address of this machine under listen in sluice.yaml';
  if (address.kind === 'tcp') return 'write a port from 1024 under listen in sluice.yaml';
  const folder = dirname(address.path);
  return code === 'ENOENT' ? `make the folder ${folder}` : `let the user of Sluice write to ${folder}`;
}

/** The first line that whoever listens says; '' where that is nothing, null where nobody listens. */
async function greetingOf(address: Address): Promise<string | null> {
  const socket = connect(
    address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port },
  );
  try {
    const signal = AbortSignal.timeout(greetingTimeoutMs);
    await once(socket, 'connect', { signal });
    const said = once(socket, 'data', { signal }).then(
      ([chunk]) => String(chunk),
      () => '',
    );
    return await said;
  } catch {
    return null; // nobody, or nobody that we may talk to: binding tells
  } finally {
    socket.on('error', () => undefined); // it has served
    socket.destroy();
  }
}

/** Why nothing can listen there; null where something can. */
async function bindProblem(address: Address): Promise<string | null> {
  if (address.kind === 'unix') return folderProblem(dirname(address.path));
  const server = createServer();
  try {
    server.listen({ host: address.host, port: address.port });
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
    return null;
  } catch (error) {
    return codeOf(error);
  }
}

function folderProblem(folder: string): string | null {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    return codeOf(error);
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
