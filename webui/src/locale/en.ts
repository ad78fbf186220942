import { join } from '../lib/catalogue'
import common from './en/common.json'
import setup from './en/setup.json'
import session from './en/session.json'
import home from './en/home.json'
import activity from './en/activity.json'
import alerts from './en/alerts.json'
import requests from './en/requests.json'
import profile from './en/profile.json'
import devices from './en/devices.json'
import settings from './en/settings.json'
import words from './en/words.json'

export default join(common, words, setup, session, home, activity, alerts, requests, profile, devices, settings)
