import './theme.css'

import { mount } from 'svelte'

import Child from './child/Child.svelte'

const target = document.getElementById('app')
if (target) mount(Child, { target })
