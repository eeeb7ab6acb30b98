// Drives the real wafer2-client-sdk (Wafer 2); see client.js for the orders.
'use strict';

require('./client.js')('wafer2-client-sdk');
