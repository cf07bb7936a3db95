/**
 * healthcheck — asks every health server of this configuration for /healthz; the image's HEALTHCHECK.
 *
 * Which role runs here shows in who answers: nobody listening is another container's role. Exit 0 where at least one
 * answers and all that listen say 200, else 1 with the reason.
 */
import { get } from 'node:http';
import process from 'node:process';
import { readSite } from './dist/workers/site.js';

const { health } = readSite(undefined, process.env).config;
const roles = Object.entries(health).filter(([, address]) => address !== null);
const answers = await Promise.all(roles.map(async ([role, address]) => [role, await ask(address)]));
const heard = answers.filter(([, answer]) => answer !== 'nobody listens');
for (const [role, answer] of answers) console.log(`${role}: ${answer}`);
process.exit(heard.length > 0 && heard.every(([, answer]) => answer === '200') ? 0 : 1);

/** The status code, or what went wrong. */
function ask(address) {
  const where =
    address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
  return new Promise((resolve) => {
    const request = get({ ...where, path: '/healthz', timeout: 5000, agent: false }, (response) => {
      response.resume();
      resolve(String(response.statusCode));
    });
    request.on('timeout', () => request.destroy(new Error('no answer within 5 s')));
    request.on('error', ({ code, message }) =>
      resolve(code === 'ECONNREFUSED' || code === 'ENOENT' ? 'nobody listens' : message),
    );
  });
}
