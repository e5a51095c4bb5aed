// An issuer of access tokens for machines, for whatever address they are asked for: JWTs as RFC 9068 has them, and for one
// machine tokens that only the issuer can read. It can be asked about these (RFC 7662), and takes them back (RFC 7009).
import { generateKeyPairSync } from 'node:crypto';

// Where the package lies depends on who starts this.
const { default: Provider } = await import(process.env.PACKAGE);

const port = Number(process.env.PORT);
const keys = [['rsa', { modulusLength: 2048 }, 'RS256'], ['ec', { namedCurve: 'P-256' }, 'ES256'], ['ed25519', {}, 'EdDSA']]
  .map(([kind, options, alg]) => ({ ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig' }));

// Each client has its tokens signed in the way that it is called by; `server` gets none and asks about others'.
const client = (alg) => ({
  client_id: `machine-${alg}`,
  client_secret: 'a-secret-of-tests-that-opens-nothing',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: ['RS256', 'PS256', 'ES256', 'EdDSA', 'opaque', 'server'].map(client),
  jwks: { keys: keys.map(({ alg, ...key }) => (alg === 'RS256' ? key : { ...key, alg })) },
  scopes: ['agents'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (context, resource, { clientId }) => ({
        scope: 'agents',
        audience: resource,
        ...(clientId === 'machine-opaque'
          ? { accessTokenFormat: 'opaque' }
          : { accessTokenFormat: 'jwt', jwt: { sign: { alg: clientId.replace('machine-', '') } } }),
      }),
    },
  },
});
provider.listen(port, '127.0.0.1');
