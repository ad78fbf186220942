import { join } from '../lib/catalogue'
import common from './ru/common.json'
import setup from './ru/setup.json'
import session from './ru/session.json'
import home from './ru/home.json'
import activity from './ru/activity.json'
import alerts from './ru/alerts.json'
import requests from './ru/requests.json'
import profile from './ru/profile.json'
import devices from './ru/devices.json'
import settings from './ru/settings.json'
import words from './ru/words.json'

export default join(common, words, setup, session, home, activity, alerts, requests, profile, devices, settings)
