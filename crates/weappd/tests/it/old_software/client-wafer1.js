// Drives the real wafer-client-sdk (Wafer 1); see client.js for the orders.
'use strict';

require('./client.js')('wafer-client-sdk');
