// Starts the guest page.

import { mount } from 'svelte';
import '../shared/theme.css';
import Join from './Join.svelte';

const target = document.getElementById('app');
if (target !== null) mount(Join, { target });
