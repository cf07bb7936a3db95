/**
 * compose-file — compose.yaml as Docker reads it: YAML with merge keys, its short forms spelt out.
 *
 * Knows only what ours uses.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { top } from './debian.ts';

export type Service = {
  readonly image?: string;
  readonly build?: string | { readonly context: string; readonly dockerfile: string };
  readonly profiles?: readonly string[];
  readonly command?: readonly string[];
  readonly depends_on?: readonly string[] | Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly healthcheck?: { readonly test: readonly string[] };
  readonly user?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly stop_grace_period?: string;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly deploy?: { readonly replicas: number };
  readonly networks: readonly string[] | Readonly<Record<string, { readonly ipv4_address?: string }>>;
};

type ComposeFile = {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<
    Record<string, { readonly internal?: boolean; readonly ipam?: { config: { subnet: string }[] } }>
  >;
  readonly volumes: Readonly<Record<string, object>>;
};

/** The whole file. */
export const compose = parse(readFileSync(join(top, 'compose.yaml'), 'utf8'), {
  merge: true,
}) as ComposeFile;

/** A service by its name; throws where there is none. */
export function serviceOf(name: string): Service {
  const service = compose.services[name];
  if (service === undefined) throw new Error(`compose.yaml has no service ${name}`);
  return service;
}

/** The networks that a service is in, each with the address that is fixed there, or null. */
export function networksOf(name: string): ReadonlyMap<string, string | null> {
  const { networks } = serviceOf(name);
  const entries = Array.isArray(networks)
    ? networks.map((network: string) => [network, null] as const)
    : Object.entries(networks).map(([network, own]) => [network, own?.ipv4_address ?? null] as const);
  return new Map(entries);
}

/** The address that a service has in a network; throws where none is fixed. */
export function addressOf(name: string, network = 'mail'): string {
  const address = networksOf(name).get(network);
  if (address === undefined || address === null)
    throw new Error(`compose.yaml gives ${name} no address in ${network}`);
  return address;
}

/** Services that must be there first. */
export function neededBy(name: string): readonly string[] {
  const needed = serviceOf(name).depends_on ?? [];
  return Array.isArray(needed) ? needed : Object.keys(needed);
}

export type Mount = { readonly source: string; readonly target: string; readonly readOnly: boolean };

/** What a service mounts: a volume by its name, or a path that begins with a dot. */
export function mountsOf(name: string): readonly Mount[] {
  return (serviceOf(name).volumes ?? []).map((text) => {
    const [source = '', target = '', mode] = text.split(':');
    return { source, target, readOnly: mode === 'ro' };
  });
}

/** The Dockerfile of a service: its own, or that of the one that builds the image it names; null where it is pulled. */
export function dockerfileOf(name: string): string | null {
  const { image, build } = serviceOf(name);
  const own =
    build ??
    Object.values(compose.services).find((one) => one.image === image && one.build !== undefined)?.build;
  if (own === undefined) return null;
  return typeof own === 'string' ? 'Dockerfile' : own.dockerfile;
}
