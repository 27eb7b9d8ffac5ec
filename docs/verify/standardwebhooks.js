// Verify a webhook of webhook_outbox with the npm package standardwebhooks.
//
//   npm install standardwebhooks
//
// Call verify() before the body is parsed, with the bytes as they came over
// the wire: in Express, express.raw({ type: '*/*' }).

'use strict';

const { Webhook } = require('standardwebhooks');

// Returns the id of the event, or throws WebhookVerificationError.
//   secret:  'whsec_...', as create_endpoint() returned it
//   headers: an object with keys in lower case, as Node's own
//   body:    a Buffer, exactly as received
function verify(secret, headers, body) {
  new Webhook(secret).verify(body.toString('utf8'), headers);
  return headers['webhook-id'];
}

module.exports = { verify };
