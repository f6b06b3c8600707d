// Starts the dashboard.

import { mount } from 'svelte';
import '../shared/theme.css';
import Dashboard from './Dashboard.svelte';

const target = document.getElementById('app');
if (target !== null) mount(Dashboard, { target });
