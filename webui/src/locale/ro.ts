import { join } from '../lib/catalogue'
import common from './ro/common.json'
import setup from './ro/setup.json'
import session from './ro/session.json'
import home from './ro/home.json'
import activity from './ro/activity.json'
import alerts from './ro/alerts.json'
import requests from './ro/requests.json'
import profile from './ro/profile.json'
import devices from './ro/devices.json'
import settings from './ro/settings.json'
import words from './ro/words.json'

export default join(common, words, setup, session, home, activity, alerts, requests, profile, devices, settings)
