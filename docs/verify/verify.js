// Verify a webhook of webhook_outbox (Standard Webhooks 1.0.0), Node 18 or later.
//
// Needs nothing from npm. Call verify() before the body is parsed, with the
// bytes as they came over the wire: in Express, express.raw({ type: '*/*' }).

'use strict';

const crypto = require('node:crypto');

const TOLERANCE_S = 5 * 60;

// Returns the id of the event, or throws.
//   secret:  'whsec_...', as create_endpoint() returned it
//   headers: an object with keys in lower case, as Node's own
//   body:    a Buffer, exactly as received
function verify(secret, headers, body, now = Date.now() / 1000) {
  const id = headers['webhook-id'];
  const timestamp = headers['webhook-timestamp'];
  const signatures = headers['webhook-signature'];
  if (!id || !timestamp || !signatures) throw new Error('a webhook- header is missing');

  // An old request may be one that somebody recorded and sends again.
  if (!/^[0-9]+$/.test(timestamp)) throw new Error('webhook-timestamp is not a number');
  if (Math.abs(now - Number(timestamp)) > TOLERANCE_S) {
    throw new Error('webhook-timestamp is too far from now');
  }

  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const expected = crypto.createHmac('sha256', key)
    .update(`${id}.${timestamp}.`).update(body).digest();

  // While a secret is rotated there is one signature per secret.
  for (const signature of signatures.split(' ')) {
    const [version, value] = signature.split(',', 2);
    const sent = Buffer.from(value || '', 'base64');
    if (version === 'v1' && sent.length === expected.length &&
        crypto.timingSafeEqual(sent, expected)) {
      return id;
    }
  }
  throw new Error('no signature is right');
}

module.exports = { verify };
